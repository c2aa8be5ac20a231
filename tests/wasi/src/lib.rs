//! The WASI host as a component: lines on standard input, answers on standard output.
#![no_std]

extern crate alloc;

mod subject;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use redis_entraid_wasi::entraid_core::http::{Headers, Method, Request, ResponseWriter, Route};
use redis_entraid_wasi::entraid_core::source::SourceIo;
use redis_entraid_wasi::entraid_core::time::Instant;
use redis_entraid_wasi::http::Http;

use redis_entraid_wasi::{Reactor, run};
use subject::Clients;
use wasip2::cli::stdin::get_stdin;
use wasip2::cli::stdout::get_stdout;
use wasip2::io::streams::{InputStream, StreamError};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(&alloc::format!("{info}\n"));
    core::arch::wasm32::unreachable()
}

struct Guest;

wasip2::cli::command::export!(Guest);

impl wasip2::exports::cli::run::Guest for Guest {
    fn run() -> Result<(), ()> {
        run(async |reactor| {
            let mut subject = Clients::new(reactor.clone());
            let mut lines =
                LineReader { stream: get_stdin(), reactor: reactor.clone(), left: Vec::new() };
            while let Some(line) = lines.next().await {
                let mut answer = String::new();
                // A String is never full.
                let _ = match line.strip_prefix("post ") {
                    Some(url) => post(reactor, url, &mut answer).await,
                    None => conformance::answer(&mut subject, &line, &mut answer).await,
                };
                answer.push('\n');
                say(&answer);
            }
        });
        Ok(())
    }
}

/// Posts a megabyte to `url`, and answers with the status.
async fn post(reactor: &Reactor, url: &str, answer: &mut String) -> fmt::Result {
    let body = alloc::vec![b'x'; 1 << 20];
    let deadline = Instant::FAR_FUTURE;
    let request = Request {
        method: Method::Post,
        url,
        headers: Headers::default(),
        body: &body,
        route: Route::LinkLocal,
        deadline,
    };
    let mut memory = [0; 512];
    let mut writer = ResponseWriter::new(&mut memory);
    match Http::new(reactor.clone()).http(&request, &mut writer).await {
        Ok(()) => write!(answer, "{}", writer.finish().status),
        Err(error) => write!(answer, "err {error}"),
    }
}

fn say(text: &str) {
    let stdout = get_stdout();
    for piece in text.as_bytes().chunks(4096) {
        // Whoever listens has gone if it can't be written.
        let _ = stdout.blocking_write_and_flush(piece);
    }
}

struct LineReader {
    stream: InputStream,
    reactor: Reactor,
    left: Vec<u8>,
}

impl LineReader {
    async fn next(&mut self) -> Option<String> {
        let mut seen = 0;
        loop {
            let new = self.left.get(seen..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                let rest = self.left.split_off(seen + end + 1);
                let mut line = core::mem::replace(&mut self.left, rest);
                line.pop();
                return String::from_utf8(line).ok();
            }
            seen = self.left.len();
            match self.stream.read(1 << 16) {
                Ok(bytes) if bytes.is_empty() => self.reactor.wait(self.stream.subscribe()).await,
                Ok(bytes) => self.left.extend(bytes),
                Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return None,
            }
        }
    }
}

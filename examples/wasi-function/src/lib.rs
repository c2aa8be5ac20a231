//! A hit counter: a `wasi:http/proxy` function over Azure Managed Redis.
//!
//! An instance may live for one request, or for many. The token outlives it in a [`cache`].
#![no_std]

extern crate alloc;

mod cache;
mod seal;

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use redis_entraid_wasi::core::client::Error;
use redis_entraid_wasi::{Builder, Client, Reactor, args, run};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Function;

wasip2::http::proxy::export!(Function);

impl Guest for Function {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        run(async |reactor| match hit(reactor).await {
            Ok((hits, redis)) => {
                respond(out, 200, &format!("{hits} hits\n"));
                // Nobody waits any more: time for the next token, if it is due.
                let _ = redis.refresh_if_due().await;
                if let Some(snapshot) = redis.changed_snapshot() {
                    cache::save(&snapshot);
                }
            }
            Err(error) => respond(out, 503, &format!("{error}\n")),
        });
    }
}

async fn hit(reactor: &Reactor) -> Result<(i64, Client), Error> {
    // REDIS_HOSTNAME and AZURE_* are read. Tokens are fetched if there is none.
    let mut builder = Builder::from_env(reactor)?.one_request().deadline(Duration::from_secs(10));
    if let Some(snapshot) = cache::load() {
        builder = builder.restore(&snapshot);
    }
    let mut redis = builder.connect().await?;
    // In the same flight as the login.
    let hits = redis.command(args!["INCR", "hits"]).await?.int()?;
    Ok((hits, redis))
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    // A number that the host doesn't know is 200.
    let _ = response.set_status_code(status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(stream) = body.write() {
        // Who asked may have gone.
        let _ = stream.blocking_write_and_flush(text.as_bytes());
    }
    let _ = OutgoingBody::finish(body, None);
}

fn variable(name: &str) -> Option<String> {
    let all = wasip2::cli::environment::get_environment();
    all.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

// What a program without std brings itself. With std, take the feature `no-libc` away too.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

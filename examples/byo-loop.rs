//! A loop of one's own: plain blocking sockets, no async, no runtime. It drives the token manager
//! and the connection of `redis-entraid-core` by hand. Commands come from standard input, a line
//! each; replies go to standard output, all else to standard error. The sockets are without TLS,
//! to keep this short: put yours into `dial`. It looks for lines 20 times a second.
#![allow(clippy::print_stdout)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use redis_entraid_core::connection::{CloseReason, Config, Connection, Output, Pending};
use redis_entraid_core::event::Event;
use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::manager::{Action, TokenManager};
use redis_entraid_core::policy::RefreshPolicy;
use redis_entraid_core::reconnect::{Dial, Reconnect, ReconnectPolicy};
use redis_entraid_core::resp::{Arg, Kind, Value};
use redis_entraid_core::source::{
    Input, IoFailure, ManagedIdentity, Selector, Source, SourceError, Start, Step, TokenResponse,
};
use redis_entraid_core::time::{Clock, Instant, StdClock};

fn main() {
    let clock = StdClock::new();
    let mut tokens = TokenManager::new(RefreshPolicy::default(), [[0; 4096]; 2]);
    let mut reconnect = Reconnect::new(ReconnectPolicy::default());
    tokens.seed(std::process::id().into());
    reconnect.seed(std::process::id().into());
    let imds = var(("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254"));
    let mut source = ManagedIdentity::imds_at(imds, Selector::System);
    let (lines, mut link) = (input(), None);
    loop {
        let now = clock.now();
        // The token, in good time.
        if let Action::Fetch { request, deadline, .. } = tokens.poll(now) {
            let mut body = [0; 8192];
            let issued = fetch(&mut source, deadline, &mut body);
            let token = issued.and_then(|it| it.token(&body).map_err(SourceError::Token));
            eprintln!("{}", tokens.answered(clock.now(), request, token));
        }
        // The connection, if there is a token for it.
        let Some((stream, connection)) = &mut link else {
            if tokens.login(now).is_some() && reconnect.poll(now, true) == Dial::Now {
                link = dial().inspect_err(|_| _ = reconnect.failed(now)).ok().map(|stream| {
                    let ring = [Pending::default(); 64];
                    (stream, Connection::new(Config::default(), [0; 4096], [0; 4096], ring))
                });
            }
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        connection.look(now, &mut tokens);
        while connection.is_ready() && connection.health(now).waiting < 32 {
            match lines.try_recv() {
                Ok(line) => {
                    let words: Vec<Arg<'_>> = line.split_whitespace().map(Arg::from).collect();
                    if let Err(error) = connection.submit(now, 0, &words) {
                        println!("(refused) {error}");
                    }
                }
                Err(TryRecvError::Disconnected) if connection.health(now).waiting == 0 => return,
                Err(_) => break,
            }
        }
        // Bytes out and in. A read that times out, or that a pause of the process ends, is no news.
        match stream.write(connection.transmit()) {
            Ok(len) => connection.sent(len),
            Err(error) => connection.closed(CloseReason::Broken(error.kind().into())),
        }
        match stream.read(connection.receive_space()) {
            Ok(0) => connection.end_of_stream(),
            Ok(len) => connection.received(clock.now(), len),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => connection.closed(CloseReason::Broken(error.kind().into())),
        }
        // What came of it.
        let mut ended = false;
        while let Some(output) = connection.next(clock.now()) {
            match output {
                Output::Reply { reply, .. } => {
                    println!("{}", reply.map_or_else(|error| error.to_string(), shown));
                }
                Output::Lost { lost, .. } => println!("(lost) {:?}", lost.outcome),
                Output::Event(event) => {
                    eprintln!("{event}");
                    reconnect.observe(clock.now(), &event);
                    ended |= matches!(event, Event::Disconnected { .. });
                }
                _ => {}
            }
        }
        link.take_if(|_| ended);
    }
}

fn var((name, otherwise): (&str, &str)) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// The lines of standard input, from a thread that may wait for them.
fn input() -> Receiver<String> {
    let (sender, receiver) = channel();
    let read =
        move || std::io::stdin().lines().try_for_each(|l| sender.send(l.unwrap_or_default()));
    std::thread::spawn(read);
    receiver
}

fn dial() -> std::io::Result<TcpStream> {
    let at = [("REDIS_HOSTNAME", "localhost"), ("REDIS_PORT", "10000")].map(var).join(":");
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(stream)
}

/// One HTTP exchange with the metadata service, and no more of HTTP than that needs.
fn fetch(
    source: &mut impl Source,
    by: Instant,
    body: &mut [u8],
) -> Result<TokenResponse, SourceError> {
    let failed = |_| SourceError::Io(IoFailure::Connect);
    let mut out = [0; 1024];
    let step = source.next(Input::Start(Start::new(by)), &mut out)?;
    let Step::Http(ask) = step else { return Err(SourceError::NoToken) };
    let url = ask.url.text(&out).unwrap_or_default();
    let (host, path) = url[7..].split_once('/').unwrap_or_default();
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let head = format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nMetadata: true\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let mut response = ResponseWriter::new(body);
    response.status(if head.contains(" 200 ") { 200 } else { 500 });
    let _ = response.body_chunk(content.as_bytes()); // an error page may be cut
    match source.next(Input::Response(response.finish()), &mut out)? {
        Step::Done(issued) => Ok(issued),
        _ => Err(SourceError::NoToken),
    }
}

fn shown(value: Value<'_>) -> String {
    match value.kind() {
        Kind::Integer => format!("(int) {}", value.str().unwrap_or("?")),
        Kind::Null => "(nil)".into(),
        Kind::Error => format!("(err) {}", value.error().map_or("", |error| error.code())),
        Kind::Array => format!("[{}]", value.items().map(shown).collect::<Vec<_>>().join(", ")),
        _ => format!("{:?}", value.str().unwrap_or("?")),
    }
}

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

use redis_entraid_wasi::Error;
use redis_entraid_wasi::{Builder, Client, args, run};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Function;

wasip2::http::proxy::export!(Function);

impl Guest for Function {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        run(async |reactor| {
            // REDIS_HOSTNAME and AZURE_* are read. Tokens are fetched if there is none.
            let builder = match Builder::from_env(reactor) {
                Ok(builder) => builder.one_request().deadline(Duration::from_secs(10)),
                Err(error) => return respond(out, 500, &format!("{error}\n")),
            };
            let identity = format!("{:?}", builder.chosen());
            let mut redis = match cache::load(&identity) {
                Some(snapshot) => builder.restore(&snapshot).start(),
                None => builder.start(),
            };
            match hit(&mut redis).await {
                Ok(hits) => {
                    respond(out, 200, &format!("{hits} hits\n"));
                    // Nobody waits any more: time for the next token, if it is due.
                    let _ = redis.refresh_if_due().await;
                }
                Err(error) => respond(out, 503, &format!("{error}\n")),
            }
            // Whatever came of the request, a token may have been fetched for it.
            if let Some(snapshot) = redis.changed_snapshot() {
                cache::save(&identity, &snapshot);
            }
        });
    }
}

async fn hit(redis: &mut Client) -> Result<i64, Error> {
    redis.connected().await?;
    // In the same flight as the login.
    Ok(redis.command(args!["INCR", "hits"]).await?.int()?)
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

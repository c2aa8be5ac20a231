//! Says hello through Azure Managed Redis, from a component, and then counts once a second for as
//! long as `COUNT` says: logged in all the time, whatever happens to token and connection.
#![no_std]

extern crate alloc;

use alloc::format;
use core::time::Duration;

use redis_entraid_wasi::Error;
use redis_entraid_wasi::entraid_core::time::{Clock, Timer};
use redis_entraid_wasi::{Builder, Reactor, WasiClock, args, run};
use wasip2::cli::environment::get_environment;
use wasip2::cli::stdout::get_stdout;

struct Hello;

wasip2::cli::command::export!(Hello);

impl wasip2::exports::cli::run::Guest for Hello {
    fn run() -> Result<(), ()> {
        run(hello).map_err(|error| say(&format!("{error}")))
    }
}

async fn hello(reactor: &Reactor) -> Result<(), Error> {
    // REDIS_HOSTNAME and AZURE_* are read.
    let builder = Builder::from_env(reactor)?.on_event(|event| say(&format!("# {event}")));
    let mut redis = builder.connect().await?;
    redis.command(args!["SET", "greeting", "hello"]).await?;
    say(redis.command(args!["GET", "greeting"]).await?.str()?);

    let timer = WasiClock::new(reactor.clone());
    for _ in 0..seconds() {
        match redis.command(args!["INCR", "hits"]).await {
            Ok(hits) => say(hits.str()?),
            // The connection comes back by itself.
            Err(error) => say(&format!("# {error}")),
        }
        timer.sleep_until(timer.now().plus(Duration::from_secs(1))).await;
    }
    Ok(())
}

fn seconds() -> u32 {
    let count = get_environment().into_iter().find(|(name, _)| name == "COUNT");
    count.and_then(|(_, seconds)| seconds.parse().ok()).unwrap_or(0)
}

fn say(line: &str) {
    // Whoever listens has gone if it can't be written.
    let _ = get_stdout().blocking_write_and_flush(format!("{line}\n").as_bytes());
}

// What a program without std brings itself. With std, take the feature `no-libc` away too.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(&format!("{info}"));
    core::arch::wasm32::unreachable()
}

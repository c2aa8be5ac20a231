//! Counts a hit, and says how many there were.
#![no_std]

extern crate alloc;

use redis_entraid_wasi::Error;
use redis_entraid_wasi::{Builder, Reactor, args, run};
use wasip2::cli::stdout::get_stdout;

struct Hit;

wasip2::cli::command::export!(Hit);

impl wasip2::exports::cli::run::Guest for Hit {
    fn run() -> Result<(), ()> {
        run(hit).map_err(|_| ())
    }
}

async fn hit(reactor: &Reactor) -> Result<(), Error> {
    #[cfg(feature = "http")]
    let builder = Builder::from_env(reactor)?;
    #[cfg(not(feature = "http"))]
    let builder = {
        use redis_entraid_wasi::entraid_core::secret::Secret;
        use redis_entraid_wasi::entraid_core::source::StaticToken;
        use redis_entraid_wasi::entraid_core::token::Token;
        // From wherever the host gives it.
        let mut variables = wasip2::cli::environment::get_environment().into_iter();
        let token = variables.find(|(name, _)| name == "TOKEN").unwrap_or_default().1;
        Builder::new(reactor, "localhost")
            .source(StaticToken::new(Token::new(Secret::new(token.leak()))))
    };
    #[cfg(not(feature = "tls-p256"))]
    let builder = builder.plain();
    let mut redis = builder.connect().await?;
    let hits = redis.command(args!["INCR", "hits"]).await?;
    let _ = get_stdout().blocking_write_and_flush(hits.raw());
    Ok(())
}

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

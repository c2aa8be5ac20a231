//! The main job, shown: log in, keep commands flowing, and stay logged in through three
//! refreshes of the token. `cargo xtask demo` runs it.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis_entraid::{Client, Error, RefreshPolicy, args};

/// How many refreshes are shown.
const REFRESHES: u32 = 3;

/// On a real server tokens live for an hour: then refreshes are asked for, this far apart.
const FORCED_EVERY: Duration = Duration::from_secs(8);

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    // Set by `cargo xtask demo` when it didn't start the server itself.
    let forced = std::env::var_os("DEMO_FORCE_REFRESH").is_some();
    match run(forced).await {
        Ok(summary) if summary.undisturbed() && summary.done(forced) => {
            println!("demo ok: {}", summary.line(forced));
            ExitCode::SUCCESS
        }
        Ok(summary) => {
            println!("demo failed: {}", summary.line(forced));
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Summary {
    refreshes: u32,
    same_tokens: u32,
    reauths: u32,
    reconnects: u32,
    commands: u64,
    failed: u64,
}

impl Summary {
    fn done(&self, forced: bool) -> bool {
        let same = if forced { self.same_tokens } else { 0 };
        self.refreshes + same >= REFRESHES && self.reauths == self.refreshes
    }

    fn undisturbed(&self) -> bool {
        self.failed == 0 && self.reconnects == 0
    }

    fn line(&self, forced: bool) -> String {
        let Self { refreshes, same_tokens, reauths, reconnects, commands, failed } = self;
        let same = if forced { format!(" same-token={same_tokens}") } else { String::new() };
        format!(
            "refreshes={refreshes} reauths={reauths} reconnects={reconnects} \
            commands={commands} failed={failed}{same}"
        )
    }
}

async fn run(forced: bool) -> Result<Summary, Error> {
    let start = Instant::now();
    // One connection needn't wait for its turn.
    let policy = RefreshPolicy { reauth_spread: Duration::ZERO, ..RefreshPolicy::default() };
    let builder = Client::from_env()?.policy(policy);
    if let Some(chosen) = builder.chosen() {
        println!("identity: {chosen}");
    }
    let mut redis = builder
        .on_event(move |event| println!("{:7.3} s  {event}", start.elapsed().as_secs_f64()))
        .connect()
        .await?;
    let mut summary = Summary::default();
    let mut next_forced = FORCED_EVERY;
    while !summary.done(forced) && start.elapsed() < PATIENCE {
        // One hash tag: on a cluster all keys are in one slot.
        let text = summary.commands.to_string();
        for command in [
            args!["SET", "{redis-entraid-demo}:text", &text],
            args!["GET", "{redis-entraid-demo}:text"],
            args!["INCR", "{redis-entraid-demo}:count"],
        ] {
            summary.commands += 1;
            if let Err(error) = redis.command(command).await {
                println!("{:7.3} s  a command failed: {error}", start.elapsed().as_secs_f64());
                summary.failed += 1;
            }
        }
        if forced && start.elapsed() >= next_forced {
            redis.identity().refresh_now();
            next_forced = start.elapsed() + FORCED_EVERY;
        }
        let health = redis.health();
        summary.refreshes = health.token.refreshes.saturating_sub(1);
        summary.same_tokens = health.token.same_tokens;
        summary.reauths = health.reauths;
        summary.reconnects = health.reconnects;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(summary)
}

//! `redis-entraid`: log in to Azure Managed Redis from a shell, and learn what is wrong where that fails.
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

mod arguments;
mod claims;
mod doctor;
mod failure;
mod generated;
mod output;
mod ping;
mod reply;
mod run;
mod setup;
mod time;
mod token;
mod watch;
mod words;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use output::Output;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    // Its own thread works on while a prompt waits for a line.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.map_err(Failure::Io).and_then(|runtime| {
        let done = runtime.block_on(dispatch(&arguments, &output));
        // A thread may wait for DNS or for a file: nobody needs what comes of it.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_unread() => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may read it.
            let _ = output.failure(&failure);
            failure.exit().into()
        }
    }
}

async fn dispatch(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let target = &arguments.target;
    match &arguments.command {
        Command::Token(options) => token::run(target, options, output).await,
        Command::Ping => ping::run(target, output).await,
        Command::Run(options) => run::run(target, options, output).await,
        Command::Doctor(options) => doctor::run(target, options, output).await,
        Command::Watch(options) => watch::run(target, options, output).await,
        Command::Completions(options) => generated::completions(options, output),
        Command::Man => generated::man(output),
    }
}

//! `run`: one command, or all that are typed at a prompt or come from the standard input.

use std::io::{BufRead, IsTerminal, stdin};

use redis_entraid::{Arg, Client, Error};
use rustyline::DefaultEditor;
use rustyline::config::Config;
use rustyline::error::ReadlineError;

use crate::arguments::{Run, Target};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::reply;
use crate::setup::Setup;
use crate::words::{is_secret, split};

/// Runs the command of the arguments, or commands line by line.
pub(crate) async fn run(target: &Target, options: &Run, output: &Output) -> Result<(), Failure> {
    let setup = Setup::read(target)?;
    let prompt = format!("{}:{}> ", setup.place.host, setup.place.port);
    let mut session = Session {
        redis: setup.client(target).command_timeout(target.timeout).connect().await?,
        output: *output,
        pretty: output.terminal || options.no_raw,
    };
    if !options.command.is_empty() {
        let command: Vec<&[u8]> =
            options.command.iter().map(|word| word.as_encoded_bytes()).collect();
        let done = session.execute(&command).await;
        session.redis.close().await;
        return done;
    }
    if stdin().is_terminal() {
        session.typed(options, &prompt).await
    } else {
        session.piped().await
    }
}

struct Session {
    redis: Client,
    output: Output,
    pretty: bool,
}

impl Session {
    /// Runs a command and prints its reply.
    async fn execute<W: AsRef<[u8]>>(&mut self, command: &[W]) -> Result<(), Failure> {
        let args: Vec<Arg<'_>> = command.iter().map(|word| Arg::from(word.as_ref())).collect();
        let value = match self.redis.command(&args).await {
            Ok(value) => value,
            Err(error) => {
                let failure = Failure::from(error);
                if let (Failure::Client(Error::Server(said)), false) = (&failure, self.output.json)
                {
                    self.output.line(format_args!("(error) {said}"))?;
                    return Err(Failure::Said(failure.exit()));
                }
                return Err(failure);
            }
        };
        if self.output.json {
            self.output.line(reply::as_json(&value))?;
        } else if self.pretty {
            self.output.line(reply::pretty(&value))?;
        } else {
            let mut bytes = Vec::new();
            reply::raw(&value, &mut bytes);
            bytes.push(b'\n');
            self.output.raw(&bytes)?;
        }
        Ok(())
    }

    /// Runs the command of a line. What it does wrong is printed, and is no reason to end.
    /// Where nobody reads the output, it is.
    async fn line(&mut self, line: &[u8]) -> Result<Result<(), Exit>, Failure> {
        let failure = match split(line) {
            Ok(words) if words.is_empty() => return Ok(Ok(())),
            Ok(words) => match self.execute(&words).await {
                Ok(()) => return Ok(Ok(())),
                Err(failure) => failure,
            },
            Err(unbalanced) => unbalanced.into(),
        };
        if failure.is_unread() {
            return Err(failure);
        }
        self.output.failure(&failure)?;
        Ok(Err(failure.exit()))
    }

    /// Runs the lines of the standard input. Exits as its last failure does.
    async fn piped(mut self) -> Result<(), Failure> {
        let mut last = Ok(());
        // A value may be of any bytes.
        for line in stdin().lock().split(b'\n') {
            if let Err(exit) = self.line(&line?).await? {
                last = Err(Failure::Said(exit));
            }
        }
        self.redis.close().await;
        last
    }

    /// Runs what is typed, until `quit`, `exit` or the end of the input.
    async fn typed(mut self, options: &Run, prompt: &str) -> Result<(), Failure> {
        let config = Config::builder().auto_add_history(false).build();
        let mut editor = DefaultEditor::with_config(config).map_err(unusable)?;
        if let Some(path) = options.history.as_ref().filter(|path| path.exists()) {
            editor.load_history(path).map_err(unusable)?;
        }
        loop {
            let line = match editor.readline(prompt) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(unusable(error)),
            };
            if ["exit", "quit"].iter().any(|end| line.trim().eq_ignore_ascii_case(end)) {
                break;
            }
            if !is_secret(&line) && editor.add_history_entry(line.trim()).map_err(unusable)? {
                // The command may be ended by Ctrl-C, and the program with it.
                let kept = options.history.as_ref().map(|path| editor.append_history(path));
                kept.transpose().map_err(unusable)?;
            }
            let _ = self.line(line.as_bytes()).await?;
        }
        self.redis.close().await;
        Ok(())
    }
}

fn unusable(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => Failure::Io(error),
        other => Failure::Io(std::io::Error::other(other)),
    }
}

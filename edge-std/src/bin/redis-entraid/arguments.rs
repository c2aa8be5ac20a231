//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// What the numbers mean that the program exits with: see [`Exit`](crate::failure::Exit).
const EXIT_CODES: &str = "\
Exit codes:
  0  done, and all is well
  1  the server answered a command with an error
  2  the arguments can't be used
  3  the environment, or this machine's clock, is wrong
  4  no usable token
  5  no connection: name, TCP or TLS
  6  the server refused the login
  7  the connection was lost, or a reply took too long
";

/// Log in to Azure Managed Redis with Microsoft Entra ID, and learn what is wrong where that fails.
///
/// Server and identity come from the environment: REDIS_HOSTNAME and REDIS_PORT, or REDIS_ENDPOINT;
/// AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH, or the variables of
/// workload identity, of a managed identity (App Service, Container Apps, Azure Arc, Service Fabric, Machine
/// Learning) or of Cloud Shell; or AZURE_TOKEN_CREDENTIALS, for who is signed in to a developer's tool. Without
/// them, it is the managed identity of the machine. Secrets are taken from there only, and not shown.
#[derive(Debug, Parser)]
#[command(name = "redis-entraid", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Where to connect, and as whom.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print JSON: an object, or one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What takes the place of variables, as far as it isn't secret.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The server's name, instead of REDIS_HOSTNAME
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Its port, instead of REDIS_PORT
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(crate) port: Option<u16>,
    /// The application id of the identity, instead of AZURE_CLIENT_ID
    #[arg(long, global = true, value_name = "GUID")]
    pub(crate) client_id: Option<String>,
    /// Limit for token and login together; for each step in doctor
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch a token, and say whose it is and how long it lives
    Token(Token),
    /// Log in, and measure one round trip
    Ping,
    /// Run a command, those of the standard input, or those that are typed at a prompt
    Run(Run),
    /// Check all from the environment to the server; say why the first step fails and what mends it
    Doctor(Doctor),
    /// Stay connected, and show the life of the token: refreshes, re-AUTHs, round trips, reconnects
    Watch(Watch),
    /// Print a script that completes this program's arguments in a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

/// See [`Command::Token`].
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Print the token, too. Anyone who has it can log in
    #[arg(long)]
    pub(crate) show_token: bool,
}

/// See [`Command::Run`].
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Number and quote replies also where the output is no terminal
    #[arg(long)]
    pub(crate) no_raw: bool,
    /// Keep what is typed in this file, without lines that may hold a password
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) history: Option<PathBuf>,
    /// The command and its arguments; without one, lines are read
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// See [`Command::Doctor`].
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Prefix of the test key
    #[arg(long, value_name = "TEXT", default_value = "redis-entraid-doctor:")]
    pub(crate) prefix: String,
    /// Write nothing: for an identity that only reads
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// See [`Command::Watch`].
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// End after this time; without it, at Ctrl-C
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time: Option<Duration>,
    /// Time between two PINGs
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) every: Duration,
}

/// See [`Command::Completions`].
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let positive = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    positive.ok_or_else(|| "not a time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_positive_number_of_seconds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for text in ["", "0", "-1", "x", "NaN", "inf", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

//! Why the program ends without success, and the number that it exits with.

use std::io;
use std::process::ExitCode;

use redis_entraid::Error;
use redis_entraid::error::{ConfigError, ErrorKind};

use crate::words::Unbalanced;

/// The number that the program exits with. `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The server answered a command with an error.
    Server = 1,
    /// The arguments can't be used.
    Usage = 2,
    /// The environment, or this machine's clock, is wrong.
    Configuration = 3,
    /// There is no usable token.
    Token = 4,
    /// There is no connection.
    Connection = 5,
    /// The server refused the login.
    Login = 6,
    /// The connection was lost, or a reply took too long.
    Lost = 7,
}

impl Exit {
    /// Its word, in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Token => "token",
            Self::Connection => "connection",
            Self::Login => "login",
            Self::Lost => "lost",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A line can't be read as words.
    #[error("{0}")]
    Words(#[from] Unbalanced),
    /// The client says why.
    #[error("{0}")]
    Client(#[from] Error),
    /// The output can't be written, or the input can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// All was said already.
    #[error("")]
    Said(Exit),
}

impl Failure {
    /// What the program exits with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Words(_) | Self::Io(_) => Exit::Usage,
            Self::Client(error) => of(error),
            Self::Said(exit) => *exit,
        }
    }
}

impl Failure {
    /// Whether who reads the output has gone: there is nobody to tell, and nothing is wrong.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Client(error.into())
    }
}

fn of(error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::Usage if matches!(error, Error::Config(_)) => Exit::Configuration,
        ErrorKind::Usage => Exit::Usage,
        ErrorKind::Token => Exit::Token,
        ErrorKind::Connect | ErrorKind::Tls => Exit::Connection,
        ErrorKind::Rejected => Exit::Login,
        ErrorKind::Server => Exit::Server,
        _ => Exit::Lost,
    }
}

//! What can be seen to fail, from the environment to the nodes of a cluster.

use core::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use redis_entraid::Chosen;
use redis_entraid::entraid_core::source::{IoFailure, SourceError};
use redis_entraid::error::{ConfigError, LoginError, ServerError};

use super::machine::Machine;
use super::tls::TlsProblem;
use crate::failure::Exit;
use crate::time::span;

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The variables name a server and an identity.
    Environment,
    /// The endpoint where tokens are asked for answers.
    Endpoint,
    /// It gives a token, for Azure Managed Redis.
    Token,
    /// This machine's clock is that of the endpoint.
    Clock,
    /// The server's name has addresses.
    Name,
    /// One of them accepts connections.
    Tcp,
    /// The server there has a certificate for the name.
    Tls,
    /// It accepts the token.
    Login,
    /// How keys are divided among nodes.
    Cluster,
    /// All nodes answer.
    Nodes,
    /// The identity may read.
    Read,
    /// The identity may write.
    Write,
    /// Whether the server says what is about to be maintained.
    Maintenance,
}

impl Step {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Endpoint => "endpoint",
            Self::Token => "token",
            Self::Clock => "clock",
            Self::Name => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Read => "read",
            Self::Write => "write",
            Self::Cluster => "cluster",
            Self::Nodes => "nodes",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What is known when something fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The server's name.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// The identity.
    pub(crate) chosen: Option<Chosen>,
    /// Where its tokens are asked for.
    pub(crate) endpoint: String,
    /// Its object id.
    pub(crate) object_id: Option<String>,
    /// By how many seconds this machine's clock is ahead, as far as a token endpoint has said the time.
    pub(crate) clock_ahead: Option<i64>,
    /// The server's addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where this runs.
    pub(crate) machine: Machine,
}

impl Known {
    /// Whether Entra itself answers requests for tokens, and nobody in between on this host or in its cluster.
    pub(crate) const fn asks_entra(&self) -> bool {
        matches!(
            self.chosen,
            Some(
                Chosen::ServicePrincipal { .. }
                    | Chosen::ClientCertificate { .. }
                    | Chosen::WorkloadIdentity { .. }
            )
        ) && !self.machine.is_bound
    }
}

/// What fails. Displays as what was seen.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// The variables lead nowhere.
    Environment(ConfigError),
    /// There is no token.
    Token {
        /// Why.
        reason: SourceError,
        /// What is wrong with the endpoint's TLS.
        tls: Option<TlsProblem>,
        /// The status with which a proxy refuses to reach the endpoint.
        proxy: Option<u16>,
        /// All that is known, in words.
        said: String,
    },
    /// The token is for another service.
    Audience(String),
    /// The token is of another tenant than `AZURE_TENANT_ID`.
    Tenant(String),
    /// This machine's clock is ahead by so many seconds, or behind.
    Clock(i64),
    /// The server's name has no address.
    Name(String),
    /// No address accepts connections. It is empty where it is said already.
    Tcp(Vec<(String, TcpProblem)>),
    /// The handshake fails.
    Tls(TlsProblem, String),
    /// The server refuses the login.
    Login(LoginError),
    /// The server answers a command with an error.
    Command {
        /// Which one.
        command: &'static str,
        /// What it says.
        error: ServerError,
        /// For a login, a read or a write.
        step: Step,
    },
    /// The connection ended, or a reply didn't come.
    Lost(Step, String),
    /// What was written is not what is read.
    Garbled,
    /// A cluster has no node.
    NoNodes,
    /// A node can't be used.
    Node {
        /// Which one.
        which: String,
        /// Why.
        problem: Box<Self>,
    },
}

/// Why an address accepts no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TcpProblem {
    /// Nobody listens there.
    Refused,
    /// There is no answer within this time.
    Silent(Duration),
    /// This machine doesn't let the program connect.
    Denied,
    /// This machine has no route there, the system says.
    NoRoute(String),
    /// The system says this.
    Other(String),
}

impl TcpProblem {
    /// What the system means by an error of this kind, with this text.
    pub(crate) fn of(kind: ErrorKind, text: String) -> Self {
        match kind {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::AddrNotAvailable => Self::NoRoute(text),
            _ => Self::Other(text),
        }
    }
}

impl Problem {
    /// Where it was seen.
    pub(crate) const fn step(&self) -> Step {
        match self {
            Self::Environment(_) => Step::Environment,
            Self::Token { proxy: Some(_), .. } => Step::Endpoint,
            Self::Token {
                reason:
                    SourceError::TimedOut
                    | SourceError::Io(IoFailure::Connect | IoFailure::Tls | IoFailure::Io),
                ..
            } => Step::Endpoint,
            Self::Token { .. } | Self::Audience(_) | Self::Tenant(_) => Step::Token,
            Self::Clock(_) => Step::Clock,
            Self::Name(_) => Step::Name,
            Self::Tcp(_) => Step::Tcp,
            Self::Tls(..) => Step::Tls,
            Self::Login(_) => Step::Login,
            Self::Command { step, .. } | Self::Lost(step, _) => *step,
            Self::Garbled => Step::Write,
            Self::NoNodes => Step::Cluster,
            Self::Node { .. } => Step::Nodes,
        }
    }

    /// What the program exits with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Environment(_) | Self::Clock(_) => Exit::Configuration,
            Self::Token { .. } | Self::Audience(_) | Self::Tenant(_) => Exit::Token,
            Self::Name(_) | Self::Tcp(_) | Self::Tls(..) => Exit::Connection,
            Self::Login(_) => Exit::Login,
            Self::Command { .. } | Self::Garbled | Self::NoNodes => Exit::Server,
            Self::Node { problem, .. } => problem.exit(),
            Self::Lost(..) => Exit::Lost,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(error) => error.fmt(f),
            Self::Token { said, .. } => f.write_str(said),
            Self::Audience(audience) => write!(f, "the token is for {audience}"),
            Self::Tenant(tenant) => write!(f, "the token is of the tenant {tenant}"),
            Self::Clock(ahead) => {
                let apart = span(Duration::from_secs(ahead.unsigned_abs()));
                let side = if *ahead > 0 { "ahead of" } else { "behind" };
                write!(f, "this machine's clock is {apart} {side} the token endpoint's")
            }
            Self::Name(said) | Self::Tls(_, said) | Self::Lost(_, said) => f.write_str(said),
            Self::Tcp(attempts) => {
                for (number, (address, problem)) in attempts.iter().enumerate() {
                    let (comma, colon) = (
                        if number == 0 { "" } else { ", " },
                        if address.is_empty() { "" } else { ": " },
                    );
                    write!(f, "{comma}{address}{colon}{problem}")?;
                }
                Ok(())
            }
            // The rest of its text is advice.
            Self::Login(error) => {
                let text = error.to_string();
                f.write_str(match text.split_once(": ") {
                    Some(("WRONGPASS", _)) => "AUTH is answered with WRONGPASS",
                    _ => &text,
                })
            }
            Self::Command { command, error, .. } => write!(f, "{command} is answered with {error}"),
            Self::Garbled => f.write_str("GET doesn't return what SET has written"),
            Self::NoNodes => f.write_str("CLUSTER SLOTS names no node"),
            Self::Node { which, problem } => write!(f, "{which}: {problem}"),
        }
    }
}

impl fmt::Display for TcpProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Silent(time) => write!(f, "no answer within {:.0} s", time.as_secs_f64()),
            Self::Denied => f.write_str("permission denied"),
            Self::NoRoute(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

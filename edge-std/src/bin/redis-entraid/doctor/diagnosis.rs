//! From what was seen to the likely cause, and what mends it. Nothing here looks at anything by itself.

mod identity;
mod network;
mod refusal;
mod server;
#[cfg(test)]
mod tests;

use super::az::Command;
use super::problem::{Known, Problem};
pub(crate) use network::{CLOCK_LIMIT, is_private};

/// What to do about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// What is most likely wrong.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) advice: String,
    /// A command that does it, or shows what is missing.
    pub(crate) command: Option<Command>,
}

impl Diagnosis {
    fn new(cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { cause: cause.into(), advice: advice.into(), command: None }
    }

    fn run(self, command: Command) -> Self {
        Self { command: Some(command), ..self }
    }
}

/// The likely cause of `problem`, and what to do about it.
pub(crate) fn diagnose(problem: &Problem, known: &Known) -> Diagnosis {
    match problem {
        Problem::Environment(error) => identity::environment(error, known),
        Problem::Token { proxy: Some(status), .. } => identity::proxy(*status, known),
        Problem::Token { reason, tls, .. } => identity::token(reason, *tls, known),
        Problem::Audience(_) => identity::audience(),
        Problem::Tenant(tenant) => identity::tenant(tenant),
        Problem::Clock(_) => network::clock(),
        Problem::Name(_) => network::name(known),
        Problem::Tcp(attempts) => network::tcp(attempts, known),
        Problem::Tls(problem, _) => network::tls(*problem, known),
        Problem::Login(error) => server::login(*error, known),
        Problem::Command { error, step, .. } => server::command(error, *step, known),
        Problem::Lost(..) => server::lost(known),
        Problem::Garbled => server::garbled(known),
        Problem::NoNodes => server::unavailable(known),
        Problem::Node { problem, .. } => match **problem {
            Problem::Tcp(_) => server::node(),
            ref problem => diagnose(problem, known),
        },
    }
}

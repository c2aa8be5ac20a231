//! Sources that are asked in their order.

use core::fmt;
#[cfg(feature = "developer")]
use core::time::Duration;

#[cfg(feature = "developer")]
use redis_entraid_core::source::IoFailure;
use redis_entraid_core::source::SourceError;
#[cfg(feature = "developer")]
use tokio::net::TcpStream;

#[cfg(feature = "developer")]
use super::CommandLineTool;
use super::{AccessToken, AnySource, FetchError, Request, TokenSource};

/// Asks its members in their order, and keeps the first one that gives a token.
///
/// A member is passed over if its identity isn't here: its endpoint can't be reached, its file or its program
/// doesn't exist, nobody is signed in. What an endpoint *refuses* is an error, and no other identity takes its
/// place. The error says what each member said.
///
/// ```no_run
/// use redis_entraid::source::{CommandLineTool, ManagedIdentity, Selector, TokenChain};
///
/// let chain = TokenChain::new()
///     .then("managed identity", ManagedIdentity::imds(Selector::<String>::System))
///     .then("Azure CLI", CommandLineTool::azure_cli());
/// # let _ = chain;
/// ```
#[derive(Default)]
pub struct TokenChain {
    members: Vec<Member>,
    /// The one that has given a token.
    kept: Option<usize>,
}

struct Member {
    name: &'static str,
    source: AnySource,
}

impl TokenChain {
    /// A chain without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `source`, called `name` in errors, after those that are there.
    #[must_use]
    pub fn then(mut self, name: &'static str, source: impl TokenSource) -> Self {
        self.members.push(Member { name, source: AnySource::new(source) });
        self
    }

    /// Asks the members of `other` after those that are there.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.members.extend(other.members);
        self
    }

    /// The tools that a developer may be signed in with, in the order of `DefaultAzureCredential`: Azure CLI,
    /// Azure PowerShell, Azure Developer CLI.
    #[cfg(feature = "developer")]
    pub fn developer_tools() -> Self {
        Self::new()
            .then("Azure CLI", CommandLineTool::azure_cli())
            .then("Azure PowerShell", CommandLineTool::azure_powershell())
            .then("Azure Developer CLI", CommandLineTool::azure_developer_cli())
    }
}

impl TokenSource for TokenChain {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let Request { start, http } = request;
        if let Some(member) = self.kept.and_then(|kept| self.members.get_mut(kept)) {
            return member.source.fetch(Request { start, http }).await;
        }
        let mut said: Vec<(&'static str, FetchError)> = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            match member.source.fetch(Request { start, http: &mut *http }).await {
                Ok(token) => {
                    #[cfg(feature = "log")]
                    log::info!("identity: {} (passed over: {})", member.name, Said(&said));
                    self.kept = Some(index);
                    return Ok(token);
                }
                Err(error) => {
                    let goes_on = error.reason().is_elsewhere();
                    said.push((member.name, error));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        let reason = said.last().map_or(SourceError::NoToken, |(_, error)| error.reason());
        Err(FetchError::new(reason, ChainError(said)))
    }
}

impl fmt::Debug for TokenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| member.name)).finish()
    }
}

/// What each member said that was asked.
#[derive(Debug)]
struct ChainError(Vec<(&'static str, FetchError)>);

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no identity gives a token: {}", Said(&self.0))
    }
}

impl std::error::Error for ChainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.last().map(|(_, error)| error as _)
    }
}

struct Said<'a>(&'a [(&'static str, FetchError)]);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, error)) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "; " };
            write!(f, "{joint}{name}: {error}")?;
        }
        Ok(())
    }
}

/// A managed identity of the machine that may not be in Azure: whether the instance metadata service is
/// there is known within a second.
#[cfg(feature = "developer")]
#[derive(Debug)]
pub(crate) struct Probed<S>(pub(crate) S);

#[cfg(feature = "developer")]
const METADATA_SERVICE: (&str, u16) = ("169.254.169.254", 80);
#[cfg(feature = "developer")]
const PROBE: Duration = Duration::from_secs(1);

#[cfg(feature = "developer")]
impl<S: TokenSource> TokenSource for Probed<S> {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        match tokio::time::timeout(PROBE, TcpStream::connect(METADATA_SERVICE)).await {
            Ok(Ok(_)) => self.0.fetch(request).await,
            _ => Err(SourceError::Io(IoFailure::Connect).into()),
        }
    }
}

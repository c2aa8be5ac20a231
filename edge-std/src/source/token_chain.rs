//! Sources that are asked in their order.

use core::fmt;

#[cfg(feature = "developer")]
use redis_entraid_core::http::{Headers, Method, Request as HttpRequest, ResponseWriter, Route};
use redis_entraid_core::source::SourceError;
#[cfg(feature = "developer")]
use redis_entraid_core::source::{IoFailure, SourceIo};
#[cfg(feature = "developer")]
use redis_entraid_core::time::Instant;

#[cfg(feature = "developer")]
use super::CommandLineTool;
use super::{AccessToken, AnySource, FetchError, Request, TokenSource};
#[cfg(feature = "developer")]
use crate::http::Http;

/// Asks its members in their order, and keeps the first one that gives a token.
///
/// A member is passed over if its identity isn't here: its endpoint can't be reached, its program doesn't exist,
/// nobody is signed in. If an endpoint *refuses*, the chain stops with that error, also on an Azure machine without
/// an identity: no other identity takes its place. The error says what each member said.
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
                    match said.is_empty() {
                        true => log::info!("identity: {}", member.name),
                        false => {
                            log::info!("identity: {} (passed over: {})", member.name, Said(&said));
                        }
                    }
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
        // One that may be there in a moment is not given up for those that are not here at all.
        let mut reasons = said.iter().map(|(_, error)| error.reason());
        let retried = reasons.clone().find(|reason| reason.kind().is_retryable());
        let reason = retried.or_else(|| reasons.next_back()).unwrap_or(SourceError::NoToken);
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

/// A managed identity of a machine that may not be in Azure.
#[cfg(feature = "developer")]
#[derive(Debug)]
pub(crate) struct Probed<S> {
    source: S,
    is_there: bool,
}

#[cfg(feature = "developer")]
impl<S> Probed<S> {
    pub(crate) const fn new(source: S) -> Self {
        Self { source, is_there: false }
    }
}

#[cfg(feature = "developer")]
const METADATA_SERVICE: &str =
    "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01";

#[cfg(feature = "developer")]
impl<S: TokenSource> TokenSource for Probed<S> {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let Request { start, http } = request;
        // Something else may answer at that address: another cloud, or Docker's proxy.
        if !self.is_there && !is_metadata_service(http, METADATA_SERVICE, start.deadline).await {
            return Err(SourceError::Io(IoFailure::Connect).into());
        }
        self.is_there = true;
        self.source.fetch(Request { start, http }).await
    }
}

/// Whether Azure's instance metadata service is at `url`: it refuses a request without the header `Metadata`.
#[cfg(feature = "developer")]
pub(crate) async fn is_metadata_service(http: &mut Http, url: &str, deadline: Instant) -> bool {
    let headers = Headers::default();
    let (method, route) = (Method::Get, Route::LinkLocal);
    let probe = HttpRequest { method, url, headers, body: b"", route, deadline };
    let mut memory = [0; 2048];
    let mut answer = ResponseWriter::new(&mut memory);
    let sent = http.http(&probe, &mut answer).await;
    let answer = answer.finish();
    sent.is_ok() && answer.status == 400 && answer.body.trim_ascii_start().starts_with(b"{")
}

//! Server and identity, by the environment and the arguments.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::source::{ErrorKind, SourceError};
use redis_entraid::env::{has_file, variables};
use redis_entraid::error::ConfigError;
use redis_entraid::source::{
    AZURE_ARC_ENDPOINT, AccessToken, AnySource, FetchError, Request, TokenSource,
};
use redis_entraid::{Builder, Chosen, Client, Event, Identity};
use redis_entraid_client::NativeEnvironment;
use tokio::sync::mpsc;

use crate::arguments::Target;

/// Where to connect, and where the tokens come from.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The server, and whose tokens are for it.
    pub(crate) place: Place,
    source: AnySource,
}

/// A server, and an identity of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The server's name.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// The identity, and why.
    pub(crate) chosen: Chosen,
    /// Where tokens are asked for: scheme, name and port.
    pub(crate) endpoint: String,
}

/// What came of the first request for a token.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Keeps the token fresh.
    pub(crate) identity: Identity,
    /// The token.
    pub(crate) token: AccessToken,
    /// How long its request took.
    pub(crate) took: Duration,
    /// How long it lives.
    pub(crate) expires_in: Duration,
    /// When the next one is due.
    pub(crate) next_in: Duration,
}

impl Setup {
    /// Reads the environment. What `target` says takes the place of a variable.
    pub(crate) fn read(target: &Target) -> Result<Self, ConfigError> {
        let (read, endpoint) = variables(|get| {
            let get = |name| instead(target, name).unwrap_or_else(|| get(name));
            let read = NativeEnvironment::read(get, has_file)?;
            let endpoint = token_endpoint(&read.chosen, get);
            Ok((read, endpoint))
        })?;
        let NativeEnvironment { host, port, source, chosen, .. } = read;
        let port = target.port.unwrap_or(port);
        let place = Place { host, port, chosen, endpoint };
        Ok(Self { place, source: AnySource::try_from(source)? })
    }

    /// The same where no server is needed.
    pub(crate) fn read_identity(target: &Target) -> Result<Self, ConfigError> {
        // Any server will do.
        let (host, port) = (Some("localhost".to_owned()), Some(0));
        Self::read(&Target { host, port, ..target.clone() })
    }

    /// A client of the server.
    pub(crate) fn client(self, target: &Target) -> Builder {
        let Place { host, port, .. } = self.place;
        Client::builder(host).port(port).source(self.source).start_timeout(target.timeout)
    }

    /// Asks for one token: once, or twice where the first answer may not be the last word.
    pub(crate) async fn fetch(self, timeout: Duration) -> Result<Fetched, Arc<FetchError>> {
        let source = Watched { source: self.source, answer: Arc::default() };
        let answer = source.answer.clone();
        let (tell, mut told) = mpsc::unbounded_channel();
        let identity = Identity::new(source)
            .on_event(move |event| {
                let _ = tell.send(*event);
            })
            .start();
        let mut event = None;
        let ends = tokio::time::Instant::now() + timeout;
        // Of several machines that answer, one may not know yet what the others do.
        for _ in 0..2 {
            let Ok(next) = tokio::time::timeout_at(ends, told.recv()).await else { break };
            event = next;
            let is_again = matches!(&event, Some(Event::FetchFailed { error, .. })
                if error.kind() == ErrorKind::Replication);
            if !is_again {
                break;
            }
        }
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (event, answer) {
            (
                Some(Event::Refreshed { expires_in, next_in, .. }),
                Some(Answer { took, result: Ok(token) }),
            ) => Ok(Fetched { identity, token, took, expires_in, next_in }),
            (_, Some(Answer { result: Err(error), .. })) => Err(error),
            // There is a token, but none that can be used.
            (Some(Event::FetchFailed { error, .. }), _) => Err(Arc::new(error.into())),
            _ => Err(Arc::new(SourceError::TimedOut.into())),
        }
    }
}

/// What the arguments say instead of a variable, if they do: perhaps that it isn't set.
fn instead(target: &Target, name: &str) -> Option<Option<String>> {
    let Target { host, port, client_id, .. } = target;
    match name {
        "REDIS_ENDPOINT" if host.is_some() => Some(None),
        "REDIS_HOSTNAME" => host.clone().map(Some),
        "REDIS_PORT" => port.map(|port| Some(port.to_string())),
        "AZURE_CLIENT_ID" => client_id.clone().map(Some),
        _ => None,
    }
}

fn token_endpoint(chosen: &Chosen, get: impl Fn(&'static str) -> Option<String>) -> String {
    let get = |name| get(name).filter(|value| !value.is_empty());
    let is_set = |name| get(name).is_some();
    let (name, usual) = match chosen {
        Chosen::AzureArc { .. } => ("IDENTITY_ENDPOINT", AZURE_ARC_ENDPOINT),
        Chosen::AppService { .. } | Chosen::ServiceFabric => ("IDENTITY_ENDPOINT", ""),
        Chosen::MachineLearning { .. } | Chosen::CloudShell => ("MSI_ENDPOINT", ""),
        Chosen::WorkloadIdentity { .. } if is_set("AZURE_KUBERNETES_TOKEN_PROXY") => {
            ("AZURE_KUBERNETES_TOKEN_PROXY", "")
        }
        Chosen::Developer { .. } => return "a developer's tool".to_owned(),
        Chosen::Imds { .. } => ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254"),
        _ => ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com"),
    };
    origin(&get(name).unwrap_or_else(|| usual.to_owned()))
}

/// The value of a variable, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The scheme, the name and the port of a URL: the rest may be secret.
fn origin(url: &str) -> String {
    let (scheme, _) = url.split_once("://").unwrap_or(("https", url));
    format!("{scheme}://{}", authority(url))
}

/// The name and the port of a URL, without the user.
pub(crate) fn authority(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// A source whose last answer can be looked at.
struct Watched {
    source: AnySource,
    answer: Arc<Mutex<Option<Answer>>>,
}

struct Answer {
    took: Duration,
    result: Result<AccessToken, Arc<FetchError>>,
}

impl TokenSource for Watched {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let begun = Instant::now();
        let result = TokenSource::fetch(&mut self.source, request).await.map_err(Arc::new);
        let took = begun.elapsed();
        let kept = Answer { took, result: result.clone() };
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        result.map_err(|error| FetchError::new(error.reason(), error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_scheme_name_and_port_are_shown() {
        for (url, shown) in [
            ("https://login.microsoftonline.com/", "https://login.microsoftonline.com"),
            ("http://user:secret@localhost:42/msi/token?x=y", "http://localhost:42"),
            ("login.microsoftonline.us", "https://login.microsoftonline.us"),
            ("http://[fd00::1]:80?x", "http://[fd00::1]:80"),
        ] {
            assert_eq!(origin(url), shown);
        }
    }
}

//! The managed identity of a machine outside of Azure that Azure Arc manages.

use core::mem;

use super::error::{ConfigError, ErrorKind, SourceError};
use super::local_request::LocalRequest;
use super::response::Endpoint;
use super::writer::RequestWriter;
use super::{Input, IoFailure, Source, Step, Text};

/// The system-assigned identity of a server that
/// [Azure Arc](https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication) manages.
///
/// Its agent proves that the caller may read a file of a protected folder: each request is refused with the
/// name of a new key file, and repeated with the file's content. The user needs to be in the group `himds`,
/// or an administrator on Windows.
///
/// ```
/// use redis_entraid_core::source::{AZURE_ARC_ENDPOINT, AzureArc, Input, Source, Start, Step};
/// use redis_entraid_core::time::Instant;
///
/// // IDENTITY_ENDPOINT, if that is set
/// let mut arc = AzureArc::new(AZURE_ARC_ENDPOINT);
/// let mut memory = [0; 512];
/// let start = Input::Start(Start::new(Instant::FAR_FUTURE));
/// assert!(matches!(arc.next(start, &mut memory), Ok(Step::Http(_))));
/// ```
#[derive(Debug)]
pub struct AzureArc<T> {
    endpoint: T,
    folder: Option<T>,
    resource: Option<T>,
    state: State,
}

/// Where Azure Arc's agent listens, unless `IDENTITY_ENDPOINT` is set.
pub const AZURE_ARC_ENDPOINT: &str = "http://127.0.0.1:40342/metadata/identity/oauth2/token";

#[derive(Clone, Copy, Debug)]
enum State {
    /// The answer is a challenge, or no token.
    Asked,
    /// The file that the challenge names is read.
    Reading,
    /// The answer is a token, or there is none.
    Proved,
}

/// Where the agent puts its key files on Linux.
const FOLDER: &str = "/var/opt/azcmagent/tokens";

/// A key file is not larger.
const MAX: usize = 4096;

const NO_CHALLENGE: SourceError = SourceError::Other {
    kind: ErrorKind::Configuration,
    what: "Azure Arc's agent named no key file in its own folder: check that IDENTITY_ENDPOINT is \
        the agent's, and that the agent is up to date",
};

const NOT_ALLOWED: SourceError = SourceError::Other {
    kind: ErrorKind::Configuration,
    what: "the key file of Azure Arc's agent can't be read: add this user to the group himds",
};

/// The agent makes a file for each request, and removes it soon.
const NO_KEY: SourceError = SourceError::Other {
    kind: ErrorKind::Transient,
    what: "the key file of Azure Arc's agent is gone or contains no key",
};

impl<T: Text> AzureArc<T> {
    /// The identity of this machine, asked for at the agent's `endpoint`, which is in `IDENTITY_ENDPOINT`; else it is
    /// [`AZURE_ARC_ENDPOINT`].
    pub const fn new(endpoint: T) -> Self {
        Self { endpoint, folder: None, resource: None, state: State::Proved }
    }

    /// The folder of the key files, if it isn't that of Linux, `/var/opt/azcmagent/tokens`: on Windows it is
    /// `%ProgramData%\AzureConnectedMachineAgent\Tokens`. No other file is ever read.
    #[must_use]
    pub fn with_folder(mut self, folder: T) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Asks for another resource than [`RESOURCE`](super::RESOURCE).
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.resource = Some(resource);
        self
    }

    fn ask(&self, key: Option<&str>, request: &mut [u8]) -> Result<Step, SourceError> {
        if self.endpoint.as_ref().is_empty() {
            return Err(ConfigError::Empty("the endpoint of Azure Arc").into());
        }
        let headers =
            [("Metadata", ["", "true"]), ("Authorization", ["Basic ", key.unwrap_or_default()])];
        let ask = LocalRequest {
            endpoint: ["", self.endpoint.as_ref()],
            api_version: "2020-06-01",
            resource: self.resource.as_ref().map(AsRef::as_ref),
            selector: None,
            headers: if key.is_some() { &headers } else { &headers[..1] },
        };
        ask.write(request)
    }

    /// The key file that a challenge names, if it lies in the agent's folder.
    fn key_file<'c>(&self, challenge: &'c [u8]) -> Option<&'c str> {
        let challenge = core::str::from_utf8(challenge).ok()?;
        let (scheme, path) = challenge.split_once("realm=")?;
        let path = path.trim_matches('"');
        let name = path.strip_prefix(self.folder.as_ref().map_or(FOLDER, AsRef::as_ref))?;
        let name = name.strip_prefix(['/', '\\'])?.strip_suffix(".key")?;
        let is_name = !name.is_empty() && !name.contains(['/', '\\', ':']) && name != "..";
        (is_name && scheme.trim_ascii().eq_ignore_ascii_case("basic")).then_some(path)
    }
}

impl<T: Text> Source for AzureArc<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        let state = mem::replace(&mut self.state, State::Proved);
        match (state, input) {
            (_, Input::Start(_)) => {
                self.state = State::Asked;
                self.ask(None, request)
            }
            (State::Asked, Input::Response(response)) if response.status == 401 => {
                let path = self.key_file(response.www_authenticate).ok_or(NO_CHALLENGE)?;
                self.state = State::Reading;
                let mut writer = RequestWriter::new(request);
                writer.plain(path);
                Ok(Step::ReadFile { path: writer.finish()?, max: MAX })
            }
            (State::Reading, Input::File(key)) => {
                let key = core::str::from_utf8(key.trim_ascii()).ok();
                let key =
                    key.filter(|key| !key.is_empty() && key.bytes().all(|c| c.is_ascii_graphic()));
                self.ask(Some(key.ok_or(NO_KEY)?), request)
            }
            // Where the endpoint is one of Arc's, no other identity takes the file's place.
            (State::Reading, Input::Failed(IoFailure::NotFound)) => Err(NO_KEY),
            (State::Reading, Input::Failed(IoFailure::File)) => Err(NOT_ALLOWED),
            (State::Reading, Input::Failed(why)) => Err(SourceError::Io(why)),
            (State::Reading, _) => Err(SourceError::ORDER),
            (State::Asked | State::Proved, input) => Endpoint::Local.answered(input),
        }
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"azure arc");
        feed(self.resource.as_ref().map_or(super::RESOURCE, AsRef::as_ref).as_bytes());
    }
}

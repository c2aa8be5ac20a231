//! A managed identity: one that Azure gives to a machine or an app.

use core::fmt;

use super::error::{ConfigError, SourceError};
use super::local_request::LocalRequest;
use super::response::Endpoint;
use super::{Hidden, Input, RESOURCE, Source, Step, Text};

/// Which of a machine's identities is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Selector<T> {
    /// The system-assigned one.
    System,
    /// The user-assigned one with this client id.
    ClientId(T),
    /// The user-assigned one with this object id (principal id).
    ObjectId(T),
    /// The user-assigned one with this resource id,
    /// `/subscriptions/.../userAssignedIdentities/...`.
    ResourceId(T),
}

/// A managed identity, asked for at the endpoint of the host that it runs on.
///
/// ```
/// use redis_entraid_core::source::{ManagedIdentity, Selector};
///
/// let on_a_vm = ManagedIdentity::imds(Selector::<&str>::System);
/// let in_a_function = ManagedIdentity::app_service(
///     "http://localhost:42356/msi/token",     // IDENTITY_ENDPOINT
///     "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a", // IDENTITY_HEADER
///     Selector::ClientId("a2b1c3d4-0000-0000-0000-000000000000"),
/// );
/// assert!(!format!("{in_a_function:?}").contains("853b9a84"));
/// # let _ = on_a_vm;
/// ```
pub struct ManagedIdentity<T> {
    host: Host<T>,
    selector: Selector<T>,
    resource: Option<T>,
}

enum Host<T> {
    Imds { base: Option<T> },
    AppService { endpoint: T, header: T },
}

/// Where the instance metadata service is on every Azure machine.
const IMDS: &str = "http://169.254.169.254";

fn imds_base<T: Text>(base: Option<&T>) -> &str {
    let base = base.map_or(IMDS, |base| base.as_ref());
    base.strip_suffix("/").unwrap_or(base)
}

impl<T: Text> ManagedIdentity<T> {
    /// On a virtual machine, a scale set or an AKS node: the
    /// [instance metadata service](https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
    pub const fn imds(selector: Selector<T>) -> Self {
        Self { host: Host::Imds { base: None }, selector, resource: None }
    }

    /// The instance metadata service somewhere else than at its link-local address: `http://host`,
    /// as `AZURE_POD_IDENTITY_AUTHORITY_HOST` has it.
    pub const fn imds_at(base: T, selector: Selector<T>) -> Self {
        Self { host: Host::Imds { base: Some(base) }, selector, resource: None }
    }

    /// In App Service, Functions or Container Apps, whose
    /// [endpoint](https://learn.microsoft.com/azure/app-service/overview-managed-identity) is in
    /// `IDENTITY_ENDPOINT` and demands the value of `IDENTITY_HEADER`.
    pub const fn app_service(endpoint: T, header: T, selector: Selector<T>) -> Self {
        Self { host: Host::AppService { endpoint, header }, selector, resource: None }
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: T) -> Self {
        self.resource = Some(resource);
        self
    }

    fn selected(&self) -> Result<Option<(&'static str, &str)>, ConfigError> {
        // The two hosts spell the same three things differently.
        let imds = matches!(self.host, Host::Imds { .. });
        let (name, id) = match &self.selector {
            Selector::System => return Ok(None),
            Selector::ClientId(id) => ("client_id", id),
            Selector::ObjectId(id) if imds => ("object_id", id),
            Selector::ObjectId(id) => ("principal_id", id),
            Selector::ResourceId(id) if imds => ("msi_res_id", id),
            Selector::ResourceId(id) => ("mi_res_id", id),
        };
        match id.as_ref() {
            "" => Err(ConfigError::Empty("the identity's id")),
            id => Ok(Some((name, id))),
        }
    }
}

impl<T: Text> Source for ManagedIdentity<T> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        let endpoint = match self.host {
            Host::Imds { .. } => Endpoint::Imds,
            Host::AppService { .. } => Endpoint::Local,
        };
        if !matches!(input, Input::Start(_)) {
            return endpoint.answered(input);
        }
        let selector = self.selected()?;
        let (endpoint, api_version, header) = match &self.host {
            Host::Imds { base } => {
                let path = "/metadata/identity/oauth2/token";
                ([imds_base(base.as_ref()), path], "2018-02-01", ("Metadata", "true"))
            }
            Host::AppService { endpoint, header } => {
                (["", endpoint.as_ref()], "2019-08-01", ("X-IDENTITY-HEADER", header.as_ref()))
            }
        };
        let ask = LocalRequest {
            endpoint,
            api_version,
            resource: self.resource.as_ref().map(AsRef::as_ref),
            selector,
            headers: &[(header.0, ["", header.1])],
        };
        ask.write(request)
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        // An app's endpoint has another port at each start: it doesn't say who the app is.
        let (host, base) = match &self.host {
            Host::Imds { base } => ("imds", imds_base(base.as_ref())),
            Host::AppService { .. } => ("app service", ""),
        };
        let (selector, id) = match &self.selector {
            Selector::System => ("system", ""),
            Selector::ClientId(id) => ("client id", id.as_ref()),
            Selector::ObjectId(id) => ("object id", id.as_ref()),
            Selector::ResourceId(id) => ("resource id", id.as_ref()),
        };
        let resource = self.resource.as_ref().map_or(RESOURCE, |resource| resource.as_ref());
        for part in [host, base, selector, id, resource] {
            feed(part.as_bytes());
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for ManagedIdentity<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ManagedIdentity");
        match &self.host {
            Host::Imds { base } => debug.field("imds", base),
            Host::AppService { endpoint, header: _ } => {
                debug.field("app_service", endpoint).field("header", &Hidden)
            }
        };
        debug.field("selector", &self.selector).field("resource", &self.resource).finish()
    }
}

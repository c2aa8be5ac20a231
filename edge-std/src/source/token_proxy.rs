//! Workload identity through the proxy of AKS identity bindings.

use core::fmt;

use redis_entraid_client::ProxyRoots;
use redis_entraid_core::source::{ErrorKind, Text, WorkloadIdentity};

use super::drive::drive;
use super::{AccessToken, FetchError, Request, TokenSource};
use crate::http::Http;
use crate::tls::Roots;

/// Workload identity through the proxy of
/// [AKS identity bindings](https://learn.microsoft.com/azure/aks/identity-bindings-concepts), which has a name
/// and certificate authorities of its own.
///
/// ```
/// use redis_entraid::source::{Authority, ProxyRoots, TokenProxy, WorkloadIdentity};
///
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let file = "/var/run/secrets/azure/tokens/azure-identity-token"; // AZURE_FEDERATED_TOKEN_FILE
/// let identity = WorkloadIdentity::new(tenant, "my-client-id", file);
/// let proxy = "https://10.0.0.1"; // AZURE_KUBERNETES_TOKEN_PROXY
/// let roots = ProxyRoots::File("/var/run/secrets/ca.crt".into()); // AZURE_KUBERNETES_CA_FILE
/// let name = Some("proxy.ests.aks".into()); // AZURE_KUBERNETES_SNI_NAME
/// let source = TokenProxy::new(identity, proxy, name, roots);
/// # let _ = source;
/// ```
pub struct TokenProxy<T> {
    source: WorkloadIdentity<T>,
    server_name: Option<String>,
    roots: ProxyRoots,
    /// What is trusted, and the PEM that it was read from.
    known: Option<(Vec<u8>, Http)>,
}

/// No bundle is larger.
const MAX: usize = 1 << 20;

impl<T: Text> TokenProxy<T> {
    /// Sends the request of `source` to the proxy at `url`, whose certificate is for `server_name`, if not for the
    /// name in its URL, and signed by one of `roots`.
    pub fn new(
        source: WorkloadIdentity<T>,
        url: T,
        server_name: Option<String>,
        roots: ProxyRoots,
    ) -> Self {
        Self::over(source.with_proxy(url), server_name, roots)
    }

    /// The same of a source that has its proxy.
    pub(crate) fn over(
        source: WorkloadIdentity<T>,
        server_name: Option<String>,
        roots: ProxyRoots,
    ) -> Self {
        Self { source, server_name, roots, known: None }
    }

    /// Reads the roots again, if they may have been replaced.
    async fn http(&mut self, usual: &Http) -> Result<Http, FetchError> {
        let pem = match &self.roots {
            ProxyRoots::Pem(pem) => pem.as_bytes().to_vec(),
            ProxyRoots::File(path) => match crate::http::read(path.as_ref(), MAX).await {
                Ok(content) => content.to_vec(),
                // It is being replaced, or the pod is still being set up.
                Err(error) => match &self.known {
                    Some((_, http)) => return Ok(http.clone()),
                    None => return Err(FetchError::of_kind(ErrorKind::Replication, error)),
                },
            },
            _ => return Ok(usual.clone().with_server_name(self.server_name.clone())),
        };
        match &self.known {
            // It is being replaced, or is still the same.
            Some((known, http)) if pem.trim_ascii().is_empty() || *known == pem => Ok(http.clone()),
            _ => {
                let roots = Roots::pem(&pem).map_err(FetchError::configuration)?;
                let http = Http::new(roots).with_server_name(self.server_name.clone());
                self.known = Some((pem, http.clone()));
                Ok(http)
            }
        }
    }
}

impl<T: Text + Send + Sync + 'static> TokenSource for TokenProxy<T> {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        let mut http = self.http(request.http).await?;
        drive(&mut self.source, &mut http, &request.start).await
    }
}

impl<T: fmt::Debug> fmt::Debug for TokenProxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProxy")
            .field("source", &self.source)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

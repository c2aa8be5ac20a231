//! Who issues tokens: a cloud and a tenant in it.

use super::error::ConfigError;
use super::writer::RequestWriter;

/// The clouds that Azure Managed Redis is in, by the host that signs in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cloud {
    /// Azure, `login.microsoftonline.com`.
    #[default]
    Public,
    /// Azure Government, `login.microsoftonline.us`.
    UsGovernment,
    /// Azure operated by 21Vianet, `login.partner.microsoftonline.cn`.
    China,
}

impl Cloud {
    const fn host(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }
}

/// Where a service principal's tokens are asked for.
///
/// The peers' three kinds are here: the *default* authority is [`Authority::in_cloud`], which
/// needs the tenant that Entra demands for client credentials; *multi-tenant* is the same with the
/// tenant of the Redis instance's directory; a *custom* one is [`Authority::custom`].
#[derive(Clone, Copy, Debug)]
pub struct Authority<T> {
    base: Base<T>,
    tenant: Option<T>,
}

#[derive(Clone, Copy, Debug)]
enum Base<T> {
    Cloud(Cloud),
    Url(T),
}

impl<T: AsRef<str>> Authority<T> {
    /// The tenant `tenant`, a GUID or a domain, of Azure's public cloud.
    pub const fn tenant(tenant: T) -> Self {
        Self::in_cloud(Cloud::Public, tenant)
    }

    /// The tenant `tenant` of `cloud`.
    pub const fn in_cloud(cloud: Cloud, tenant: T) -> Self {
        Self { base: Base::Cloud(cloud), tenant: Some(tenant) }
    }

    /// The tenant `tenant` at another host: `https://host`, as `AZURE_AUTHORITY_HOST` has it.
    pub const fn at_host(host: T, tenant: T) -> Self {
        Self { base: Base::Url(host), tenant: Some(tenant) }
    }

    /// A whole authority, `https://host/tenant`.
    pub const fn custom(url: T) -> Self {
        Self { base: Base::Url(url), tenant: None }
    }

    /// The same, borrowed.
    pub fn as_deref(&self) -> Authority<&str> {
        let base = match &self.base {
            Base::Cloud(cloud) => Base::Cloud(*cloud),
            Base::Url(url) => Base::Url(url.as_ref()),
        };
        Authority { base, tenant: self.tenant.as_ref().map(AsRef::as_ref) }
    }

    /// Looks for what Entra would refuse.
    ///
    /// # Errors
    /// [`ConfigError`] if the tenant is missing or one that has no client credentials, or the
    /// host is not reached by TLS.
    pub fn check(&self) -> Result<(), ConfigError> {
        let url = match &self.base {
            Base::Cloud(cloud) => cloud.host(),
            Base::Url(url) => url.as_ref(),
        };
        let host = behind_https(url)
            .filter(|host| !host.is_empty())
            .ok_or(ConfigError::NotHttps("the authority"))?;
        let tenant = match &self.tenant {
            Some(tenant) => tenant.as_ref(),
            None => host.trim_end_matches('/').split_once('/').map_or("", |(_, tenant)| tenant),
        };
        match tenant {
            "" | "common" | "consumers" => Err(ConfigError::TenantRequired),
            _ => Ok(()),
        }
    }

    /// Feeds what says which one it is.
    pub(super) fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        let base = match &self.base {
            Base::Cloud(cloud) => cloud.host(),
            Base::Url(url) => url.as_ref().trim_end_matches('/'),
        };
        feed(base.as_bytes());
        feed(self.tenant.as_ref().map_or("", |tenant| tenant.as_ref()).as_bytes());
    }

    /// Writes the URL of the token endpoint (v2.0).
    pub(super) fn token_endpoint(&self, out: &mut RequestWriter<'_>) {
        match &self.base {
            Base::Cloud(cloud) => out.plain(cloud.host()),
            Base::Url(url) => out.plain(url.as_ref().trim_end_matches('/')),
        };
        self.behind_base(out);
    }

    /// Writes the same for a server that stands in for the authority's: only the path is the authority's.
    pub(super) fn token_endpoint_at(&self, server: &str, out: &mut RequestWriter<'_>) {
        out.plain(server.trim_end_matches('/'));
        if let Base::Url(url) = &self.base {
            let url = url.as_ref().trim_end_matches('/');
            let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
            if let Some((_, path)) = behind_scheme.split_once('/') {
                out.plain("/").plain(path);
            }
        }
        self.behind_base(out);
    }

    fn behind_base(&self, out: &mut RequestWriter<'_>) {
        if let Some(tenant) = &self.tenant {
            out.plain("/").encoded(tenant.as_ref());
        }
        out.plain("/oauth2/v2.0/token");
    }
}

/// What is behind `https://` in `url`, if it begins like that.
pub(super) fn behind_https(url: &str) -> Option<&str> {
    match url.get(..8) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https://") => url.get(8..),
        _ => None,
    }
}

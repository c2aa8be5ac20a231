//! Which server the variables name.

use alloc::borrow::ToOwned;
use alloc::string::String;

use redis_entraid_core::transport::PORT;

use super::Get;
use crate::error::ConfigError;

/// The server's host and port.
pub(super) fn read(get: Get<'_>) -> Result<(String, u16), ConfigError> {
    let port = |text: &str, name| text.parse().map_err(|_| ConfigError::Invalid(name));
    let host = |host: &str, name| {
        let host = host.trim_matches(['[', ']']);
        // Without TLS there is no login at all. What has a key in it, as a connection string of other
        // clients, is not shown to anybody.
        let is_name = |host: &str| {
            !host.is_empty()
                && !host.contains(['@', ',', '=', '/', ':'])
                && !host.contains(char::is_whitespace)
        };
        match is_name(host) || host.parse::<core::net::Ipv6Addr>().is_ok() {
            true => Ok(host.to_owned()),
            false => Err(ConfigError::Invalid(name)),
        }
    };
    if let Some(endpoint) = get("REDIS_ENDPOINT") {
        let endpoint = endpoint.strip_prefix("rediss://").unwrap_or(&endpoint);
        let endpoint = endpoint.trim_end_matches('/');
        let name = "REDIS_ENDPOINT";
        return match endpoint.rsplit_once(':') {
            // An IPv6 address has more colons than one, and brackets if a port follows.
            Some((name_of, number)) if !name_of.contains(':') || name_of.ends_with(']') => {
                Ok((host(name_of, name)?, port(number, name)?))
            }
            _ => Ok((host(endpoint, name)?, PORT)),
        };
    }
    let name = "REDIS_HOSTNAME";
    let host = host(&get(name).ok_or(ConfigError::Missing(name))?, name)?;
    let number = get("REDIS_PORT").map_or(Ok(PORT), |number| port(&number, "REDIS_PORT"))?;
    Ok((host, number))
}

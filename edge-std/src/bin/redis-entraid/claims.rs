//! What a token says of itself, for a person. Nothing is verified: only the server can do that.

use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis_entraid::entraid_core::jwt::Claims;
use redis_entraid::entraid_core::time::UnixTime;
use redis_entraid::source::AccessToken;
use serde_json::Value;

/// The claims that matter here, as far as the token has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// `oid`, the user name at the server.
    pub(crate) oid: Option<String>,
    /// `tid`, the tenant.
    pub(crate) tenant: Option<String>,
    /// `appid` or `azp`, the application.
    pub(crate) app: Option<String>,
    /// `aud`, the service that it is for.
    pub(crate) audience: Option<String>,
    /// `exp`, when it ends.
    pub(crate) ends: Option<UnixTime>,
}

impl Shown {
    /// Reads the claims of `token`. One that is no JWT has none.
    pub(crate) fn of(token: &AccessToken) -> Self {
        let token = token.as_token();
        let claims = payload(token.secret.expose()).unwrap_or_default();
        let text = |name: &str| Some(claims.get(name)?.as_str()?.to_owned());
        let read = Claims::read(token.secret.expose()).unwrap_or_default();
        Self {
            oid: token.user.map(str::to_owned).or_else(|| Some(read.oid?.as_str().to_owned())),
            tenant: text("tid"),
            app: text("appid").or_else(|| text("azp")),
            audience: text("aud"),
            ends: read.exp,
        }
    }
}

/// What a federated token says of itself: none of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Federated {
    /// `iss`, who has made it.
    issuer: String,
    /// `sub`, for whom.
    subject: String,
    /// `aud`, what it may be shown to.
    audience: String,
    /// `exp`, when it ends.
    pub(crate) ends: Option<UnixTime>,
}

impl Federated {
    /// Reads the claims of `token`, if it is a JWT.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let claims = payload(token.trim())?;
        let text = |name: &str| {
            let values = match claims.get(name) {
                Some(Value::Array(values)) => values.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            if texts.is_empty() { "none".to_owned() } else { texts.join(" and ") }
        };
        Some(Self {
            issuer: text("iss"),
            subject: text("sub"),
            audience: text("aud"),
            ends: claims.get("exp").and_then(Value::as_u64).map(UnixTime),
        })
    }
}

impl fmt::Display for Federated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, subject, audience, .. } = self;
        write!(f, "issuer {issuer}, subject {subject}, audience {audience}")
    }
}

fn payload(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_either_version_says_whose_it_is_and_an_opaque_one_nothing() {
        let oid = "11111111-2222-3333-4444-555555555555";
        for app in ["appid", "azp"] {
            let claims =
                format!(r#"{{"oid":"{oid}","tid":"{oid}","{app}":"a","aud":"x","exp":7}}"#);
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
            let shown = Shown::of(&AccessToken::new(token));
            assert_eq!(shown.oid.as_deref(), Some(oid));
            assert_eq!(shown.app.as_deref(), Some("a"));
            assert_eq!(shown.tenant.as_deref(), Some(oid));
            assert_eq!(shown.audience.as_deref(), Some("x"));
            assert_eq!(shown.ends, Some(UnixTime(7)));
        }
        let opaque = Shown::of(&AccessToken::new("opaque").user("me"));
        assert_eq!((opaque.oid.as_deref(), opaque.app), (Some("me"), None));
    }

    #[test]
    fn a_federated_token_says_who_has_made_it_for_whom() {
        for (aud, shown) in [(r#""a""#, "a"), (r#"["a","b"]"#, "a and b"), ("7", "none")] {
            let claims = format!(r#"{{"iss":"https://i","sub":"s:n","aud":{aud},"exp":7}}"#);
            let read = Federated::read(&format!("e30.{}.x\n", URL_SAFE_NO_PAD.encode(claims)));
            let read = read.unwrap();
            let text = format!("issuer https://i, subject s:n, audience {shown}");
            assert_eq!((read.to_string(), read.ends), (text, Some(UnixTime(7))));
        }
        assert_eq!(Federated::read("opaque"), None);
    }
}

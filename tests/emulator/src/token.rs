//! Access tokens as Entra makes them, signed, and checked as Azure Managed Redis does.

use std::io::{Error, Result};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The application id of the service that tokens are for.
pub(crate) const REDIS_APP: &str = "acca5fbb-b7e4-4009-81f1-37e38fd66d78";

/// The same by name.
pub(crate) const RESOURCE: &str = "https://redis.azure.com";

/// Whether `name` is the service's: by its URL, or by its application id.
pub(crate) fn is_redis(name: &str) -> bool {
    name.trim_end_matches('/') == RESOURCE || name.eq_ignore_ascii_case(REDIS_APP)
}

/// Makes and checks tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    key: KeyPair,
    tenant: String,
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time that is left until `second`.
pub(crate) fn until(second: u64) -> Duration {
    (UNIX_EPOCH + Duration::from_secs(second)).duration_since(SystemTime::now()).unwrap_or_default()
}

/// 32 hexadecimal digits of chance.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0; 16];
    // It fails only if the machine has no randomness at all.
    aws_lc_rs::rand::fill(&mut bytes).expect("the machine has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Issuer {
    /// An issuer with a fresh key.
    pub(crate) fn new(tenant: &str) -> Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(Error::other)?;
        Ok(Self { key, tenant: tenant.to_owned() })
    }

    /// A token for the identity `oid` of the application `client_id` that ends at `expires_on`.
    /// Managed identities have their resource's id in it, if there is one.
    pub(crate) fn token(
        &self,
        oid: &str,
        client_id: &str,
        resource_id: Option<&str>,
        audience: &str,
        expires_on: u64,
    ) -> String {
        let (kid, tenant) = (self.kid(), &self.tenant);
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid });
        // Entra dates tokens back by five minutes.
        let issued = now().saturating_sub(300);
        let mut claims = json!({
            "aud": audience,
            "iss": format!("https://sts.windows.net/{tenant}/"),
            "iat": issued,
            "nbf": issued,
            "exp": expires_on,
            "aio": format!("k2RgYHhS{}{}AA==", random_hex(), random_hex()),
            "appid": client_id,
            "appidacr": if resource_id.is_some() { "2" } else { "1" },
            "idp": format!("https://sts.windows.net/{tenant}/"),
            "idtyp": "app",
            "oid": oid,
            "rh": format!("1.AXkAv4j5cvGGr0GRqy180BHbR7tfysrks_lAgfE-N-P2bXhcAQ.{}", random_hex()),
            "sub": oid,
            "tid": tenant,
            "uti": random_hex(),
            "ver": "1.0",
            "xms_act_fct": "9 3",
            "xms_ftd": format!("{}{}{}", random_hex(), random_hex(), random_hex()),
            "xms_idrel": "7 16",
            "xms_rd": format!("0.{}{}{}", random_hex(), random_hex(), random_hex()),
            "xms_sub_fct": "9 3",
        });
        if let Some(id) = resource_id {
            claims["xms_mirid"] = Value::from(id);
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())))
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)
            .expect("the buffer has the size of the modulus");
        signature
    }

    /// What the server asks of a token with which `user` wants to log in; answers with the
    /// second in which it ends.
    pub(crate) fn check(&self, user: &str, token: &str) -> std::result::Result<u64, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        let key = UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            self.key.public_key().as_ref().to_vec(),
        );
        key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| "wrong signature")?;
        let payload = decode(signed.split('.').nth(1).ok_or("not a JWT")?)?;
        let claims: Value = serde_json::from_slice(&payload).map_err(|_| "not JSON")?;
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        let second = |name: &str| claims[name].as_u64().unwrap_or_default();
        let audience = text("aud");
        if audience.trim_end_matches('/') != RESOURCE && audience != REDIS_APP {
            return Err("wrong audience");
        }
        if text("tid") != self.tenant {
            return Err("wrong tenant");
        }
        if text("oid") != user {
            return Err("the user name is not the oid");
        }
        if now() < second("nbf") || now() >= second("exp") {
            return Err("not valid at this time");
        }
        Ok(second("exp"))
    }

    fn kid(&self) -> String {
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
            self.key.public_key().as_ref(),
        );
        URL_SAFE_NO_PAD.encode(digest)
    }

    /// The public key, for who checks tokens.
    pub(crate) fn jwks(&self) -> Value {
        let parts = PublicKeyComponents::<Vec<u8>>::from(self.key.public_key());
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid(),
            "n": URL_SAFE_NO_PAD.encode(parts.n), "e": URL_SAFE_NO_PAD.encode(parts.e),
        }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_user_its_service_and_its_time() {
        let (tenant, app) = ("72f988bf-86f1-41af-91ab-2d7cd011db47", crate::entra::guid());
        let oid = crate::entra::guid();
        let issuer = Issuer::new(tenant).unwrap();
        let token = |audience, expires_on| issuer.token(&oid, &app, None, audience, expires_on);
        // One second, however long this takes.
        let end = now() + 600;
        let good = token(RESOURCE, end);
        assert!((1_500..1_900).contains(&good.len()), "{}", good.len());
        assert_eq!(issuer.check(&oid, &good), Ok(end));
        assert_eq!(issuer.check(&oid, &token(REDIS_APP, end)), Ok(end));
        assert_eq!(issuer.check(&app, &good), Err("the user name is not the oid"));
        let other = token("https://management.azure.com", end);
        assert_eq!(issuer.check(&oid, &other), Err("wrong audience"));
        assert_eq!(issuer.check(&oid, &token(RESOURCE, now())), Err("not valid at this time"));
        let forged = Issuer::new(tenant).unwrap().token(&oid, &app, None, RESOURCE, end);
        assert_eq!(issuer.check(&oid, &forged), Err("wrong signature"));
        assert_eq!(issuer.check(&oid, "x"), Err("not a JWT"));
    }
}

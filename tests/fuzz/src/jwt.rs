//! Access tokens, held against `serde_json`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis_entraid_core::jwt::{Claims, Guid, JwtError};
use serde_json::Value;

/// The bytes are a token; and then the payload of one.
pub fn check(data: &[u8]) {
    if let Ok(token) = core::str::from_utf8(data) {
        let _ = Claims::read(token).map_err(|error| error.to_string());
        let _ = Guid::parse(token);
    }
    let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(data));
    let claims = match Claims::read(&token) {
        Ok(claims) => claims,
        Err(error) => {
            assert!(!matches!(error, JwtError::Parts | JwtError::Base64), "{error}");
            return;
        }
    };
    let Ok(Value::Object(oracle)) = serde_json::from_slice(data) else { return };
    let seconds = |name| oracle.get(name).and_then(Value::as_u64);
    let guid = |name| oracle.get(name).and_then(Value::as_str).and_then(Guid::parse);
    assert_eq!(claims.oid, guid("oid"));
    assert_eq!(claims.tid, guid("tid"));
    // A fraction is cut off here, and no number for the oracle.
    for (ours, name) in [(claims.exp, "exp"), (claims.nbf, "nbf"), (claims.iat, "iat")] {
        assert_eq!(ours.is_some(), oracle.contains_key(name));
        assert!(seconds(name).is_none() || ours.map(|time| time.0) == seconds(name));
    }
}

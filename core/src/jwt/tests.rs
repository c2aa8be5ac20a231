use super::*;
use ::base64::Engine;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::string::String;

fn jwt(payload: impl AsRef<[u8]>) -> String {
    let mut text = String::from("eyJhbGciOiJSUzI1NiJ9.");
    text.push_str(&base64_text(payload.as_ref()));
    text.push_str(".c2lnbmF0dXJl");
    text
}

fn base64_text(bytes: &[u8]) -> String {
    let mut out = std::vec![0; bytes.len() * 2 + 4];
    let len = URL_SAFE_NO_PAD.encode_slice(bytes, &mut out).unwrap();
    out.truncate(len);
    String::from_utf8(out).unwrap()
}

const OID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn read(payload: &str) -> Result<Claims, JwtError> {
    Claims::read(&jwt(payload))
}

#[test]
fn claims_of_a_real_shape_are_read() {
    let claims = read(&std::format!(
        r#"{{"aud":"https://redis.azure.com","iss":"https://sts.windows.net/{OID}/","iat":1795300058,
        "nbf":1795300058,"exp":1795303958,"aio":"k2RgYHhS","appid":"{OID}","appidacr":"1","oid":"{OID}",
        "rh":"1.AXkA","sub":"{OID}","tid":"72f988bf-86f1-41af-91ab-2d7cd011db47","uti":"x","ver":"1.0"}}"#
    ))
    .unwrap();
    assert_eq!(claims.oid, Guid::parse(OID));
    assert_eq!(claims.tid.unwrap().as_str(), "72f988bf-86f1-41af-91ab-2d7cd011db47");
    assert_eq!(claims.exp, Some(UnixTime(1_795_303_958)));
    assert_eq!(claims.nbf, Some(UnixTime(1_795_300_058)));
    assert_eq!(claims.iat, claims.nbf);
    assert_eq!(claims.audience, Audience::Redis);
}

#[test]
fn an_oid_that_is_not_on_the_top_level_is_not_taken() {
    for payload in [
        r#"{"sub":"\"oid\":\"0f8fad5b-d9cb-469f-a165-70867728950e\"","exp":1}"#,
        r#"{"nested":{"oid":"0f8fad5b-d9cb-469f-a165-70867728950e"},"exp":1}"#,
        r#"{"list":[{"oid":"0f8fad5b-d9cb-469f-a165-70867728950e"}],"exp":1}"#,
        r#"{"Oid":"0f8fad5b-d9cb-469f-a165-70867728950e"}"#,
        "{}",
    ] {
        assert_eq!(read(payload).unwrap().oid, None, "{payload}");
    }
}

#[test]
fn escapes_do_not_hide_a_claim() {
    let claims = read(r#"{"\u006f\u0069d":"0f8fad5b-d9cb-469f-a165-70867728950\u0065"}"#).unwrap();
    assert_eq!(claims.oid, Guid::parse(OID));
}

#[test]
fn unusable_claims_are_named() {
    for (payload, error) in [
        (r#"{"oid":null}"#, JwtError::Malformed(Claim::Oid)),
        (r#"{"oid":17}"#, JwtError::Malformed(Claim::Oid)),
        (r#"{"oid":"someone"}"#, JwtError::Malformed(Claim::Oid)),
        (r#"{"oid":"0f8fad5b-d9cb-469f-a165-70867728950g"}"#, JwtError::Malformed(Claim::Oid)),
        (r#"{"exp":"1795303958"}"#, JwtError::Malformed(Claim::Exp)),
        (r#"{"exp":-1}"#, JwtError::Malformed(Claim::Exp)),
        (r#"{"exp":null}"#, JwtError::Malformed(Claim::Exp)),
        (r#"{"exp":1,"exp":2}"#, JwtError::Duplicate(Claim::Exp)),
        ("[]", JwtError::Json(JsonError::Syntax { at: 0 })),
        (r#"{"exp":1"#, JwtError::Json(JsonError::Incomplete)),
    ] {
        assert_eq!(read(payload), Err(error), "{payload}");
    }
    let twice = std::format!(r#"{{"oid":"{OID}","\u006fid":"{OID}"}}"#);
    assert_eq!(read(&twice), Err(JwtError::Duplicate(Claim::Oid)));
}

#[test]
fn what_is_no_jwt_is_refused() {
    let good = jwt("{}");
    assert!(Claims::read(&good).is_ok());
    for (token, error) in [
        ("", JwtError::Parts),
        ("opaque", JwtError::Parts),
        ("a.b", JwtError::Parts),
        ("a.b.c.d.e", JwtError::Parts),
        ("a.e30=.c", JwtError::Base64),
        ("a.e+0.c", JwtError::Base64),
        ("a.e.c", JwtError::Base64),
        ("a..c", JwtError::Json(JsonError::Incomplete)),
        ("a.\u{e9}\u{e9}.c", JwtError::Base64),
    ] {
        assert_eq!(Claims::read(token), Err(error), "{token}");
    }
    assert!(Claims::read(&jwt([0xff, 0xfe])).is_err());
}

#[test]
fn a_long_claim_before_or_between_ours_changes_nothing() {
    for len in 0..300 {
        let filler = "g".repeat(len);
        let claims =
            read(&std::format!(r#"{{"a":"{filler}","oid":"{OID}","{filler}":[],"exp":7}}"#))
                .unwrap();
        assert_eq!((claims.oid, claims.exp), (Guid::parse(OID), Some(UnixTime(7))), "{len}");
    }
    let twelve_kilobytes = "g".repeat(9000);
    let token = jwt(std::format!(r#"{{"groups":"{twelve_kilobytes}","oid":"{OID}"}}"#));
    assert!(token.len() > 12_000);
    assert_eq!(Claims::read(&token).unwrap().oid, Guid::parse(OID));
}

#[test]
fn the_audience_tells_a_wrong_scope() {
    for (audience, expected) in [
        ("https://redis.azure.com", Audience::Redis),
        ("https:\\/\\/redis.azure.com", Audience::Redis),
        ("acca5fbb-b7e4-4009-81f1-37e38fd66d78", Audience::Redis),
        ("https://management.azure.com", Audience::Other),
    ] {
        let claims = read(&std::format!(r#"{{"aud":"{audience}"}}"#)).unwrap();
        assert_eq!(claims.audience, expected, "{audience}");
    }
    assert_eq!(read("{}").unwrap().audience, Audience::Missing);
    let long = std::format!(r#"{{"aud":"{}"}}"#, "x".repeat(400));
    assert_eq!(read(&long).unwrap().audience, Audience::Other);
}

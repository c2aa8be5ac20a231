#[cfg(feature = "file-sources")]
mod files;
#[cfg(feature = "native-sources")]
mod native;

use super::*;
use alloc::borrow::ToOwned;
use std::string::ToString;

fn from(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
    Environment::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn one_rule_chooses_the_identity() {
    let host = ("REDIS_HOSTNAME", "h");
    let chosen = |variables: &[(&str, &str)]| from(variables).unwrap().chosen.to_string();
    assert!(chosen(&[host]).starts_with("managed identity of this machine, system-assigned"));
    assert!(
        chosen(&[host, ("AZURE_CLIENT_ID", "c")])
            .starts_with("managed identity of this machine, user-assigned, client id c")
    );
    // The header got lost on the way here: another identity must not take its place.
    let endpoint = ("IDENTITY_ENDPOINT", "http://x");
    let missing = ConfigError::Missing("IDENTITY_HEADER");
    assert_eq!(from(&[host, endpoint]).unwrap_err(), missing);
    let app = [host, ("IDENTITY_ENDPOINT", "http://x"), ("IDENTITY_HEADER", "h")];
    assert!(chosen(&app).starts_with("managed identity of this app"));
    let principal = [
        host,
        ("IDENTITY_ENDPOINT", "http://x"),
        ("IDENTITY_HEADER", "h"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "hush"),
        ("AZURE_TENANT_ID", "t"),
    ];
    let sentence = chosen(&principal);
    assert_eq!(sentence, "service principal c of tenant t (AZURE_CLIENT_SECRET is set)");
}

const HOST: (&str, &str) = ("REDIS_HOSTNAME", "h");
const ENDPOINT: (&str, &str) = ("IDENTITY_ENDPOINT", "https://localhost:2377/token");
const HEADER: (&str, &str) = ("IDENTITY_HEADER", "h");

#[test]
fn what_asks_for_an_identity_that_is_not_supported_is_named_and_never_another_identity() {
    let cases: [(&str, &[(&str, &str)]); 8] = [
        ("AZURE_CLIENT_CERTIFICATE_PATH", &[]),
        ("AZURE_FEDERATED_TOKEN_FILE", &[]),
        ("IDENTITY_SERVER_THUMBPRINT", &[ENDPOINT, HEADER]),
        ("IMDS_ENDPOINT", &[ENDPOINT]),
        ("MSI_ENDPOINT", &[]),
        ("MSI_ENDPOINT", &[("MSI_SECRET", "s")]),
        ("MSI_ENDPOINT", &[("MSI_SECRET", "s"), ENDPOINT]),
        ("AZURE_USERNAME", &[("AZURE_PASSWORD", "s")]),
    ];
    for (asks, beside) in cases {
        let variables = [&[HOST, (asks, "x")], beside].concat();
        let error = from(&variables).unwrap_err();
        assert_eq!(error, ConfigError::Unsupported(asks), "{variables:?}");
        assert!(error.to_string().contains(asks), "{error}");
    }
    // What an older host has left there says nothing.
    let old = [HOST, ENDPOINT, HEADER, ("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "s")];
    assert_eq!(from(&old).unwrap().chosen, Chosen::AppService { client_id: None });
}

#[test]
fn a_credential_that_is_named_must_be_the_one_that_is_chosen() {
    let asks = |name, beside: &[_]| {
        from(&[&[("AZURE_TOKEN_CREDENTIALS", name)], beside].concat()).map(|read| read.chosen)
    };
    let unsupported = Err(ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS"));
    assert!(asks("prod", &[HOST]).is_ok());
    assert!(asks("managedidentitycredential", &[HOST]).is_ok());
    assert_eq!(asks("WorkloadIdentityCredential", &[HOST]), unsupported);
    for name in ["dev", "AzureCliCredential"] {
        assert_eq!(asks(name, &[HOST]), unsupported);
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    assert_eq!(from(&[]).unwrap_err(), ConfigError::Missing("REDIS_HOSTNAME"));
    let error = from(&[("REDIS_HOSTNAME", "h"), ("REDIS_PORT", "x")]).unwrap_err();
    assert_eq!(error, ConfigError::Invalid("REDIS_PORT"));
    let secret = &[("REDIS_HOSTNAME", "h"), ("AZURE_CLIENT_SECRET", "s")];
    assert_eq!(from(secret).unwrap_err(), ConfigError::Missing("AZURE_CLIENT_ID"));
    let error = from(&[
        ("REDIS_HOSTNAME", "h"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_TENANT_ID", "common"),
    ]);
    assert!(error.unwrap_err().to_string().contains("needs a tenant"));
}

#[test]
fn a_host_name_is_nothing_else() {
    for wrong in ["a:1", "u:key@a", "a:1,password=key", "a b", "redis://a", "a/0"] {
        let error = from(&[("REDIS_HOSTNAME", wrong)]).unwrap_err();
        assert_eq!(error, ConfigError::Invalid("REDIS_HOSTNAME"), "{wrong}");
        assert!(!error.to_string().contains("key"));
    }
    assert_eq!(from(&[("REDIS_HOSTNAME", "fd00::1")]).unwrap().host, "fd00::1");
}

#[test]
fn the_endpoint_may_have_its_port() {
    let endpoint = |text: &'static str| {
        endpoint::read(&|name| (name == "REDIS_ENDPOINT").then(|| text.into()))
    };
    let is = |host: &str, port| Ok((host.to_owned(), port));
    assert_eq!(endpoint("a.b.redis.azure.net:10001"), is("a.b.redis.azure.net", 10_001));
    assert_eq!(endpoint("a.b.redis.azure.net"), is("a.b.redis.azure.net", 10_000));
    assert_eq!(endpoint("rediss://a:1/"), is("a", 1));
    assert_eq!(endpoint("[::1]:5"), is("::1", 5));
    assert_eq!(endpoint("::1"), is("::1", 10_000));
    for wrong in [
        "a:x",
        "redis://a:1",
        "redis://a",
        "rediss://",
        ":1",
        "[]:1",
        "rediss://default:key@a:1",
        "a:1,password=key,ssl=True",
    ] {
        assert_eq!(endpoint(wrong), Err(ConfigError::Invalid("REDIS_ENDPOINT")), "{wrong}");
    }
}

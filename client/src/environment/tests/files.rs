//! Hosts that may have files.

use super::*;

const APPLICATION: [(&str, &str); 3] = [HOST, ("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")];
const CERTIFICATE: (&str, &str) = ("AZURE_CLIENT_CERTIFICATE_PATH", "/x.pem");
const TOKEN: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "/token");

fn read(more: &[(&str, &str)], has_proof: bool) -> Result<FileEnvironment, ConfigError> {
    beside("", more, has_proof)
}

/// On a machine where there is this file.
fn beside(
    file: &str,
    more: &[(&str, &str)],
    has_proof: bool,
) -> Result<FileEnvironment, ConfigError> {
    let variables = [&APPLICATION[..], more].concat();
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
    let get = |name: &str| find(name).map(|(_, value)| (*value).to_owned());
    FileEnvironment::read(get, |path| path == file, has_proof)
}

#[test]
fn with_files_the_same_rule_chooses_a_certificate_or_a_federated_token() {
    let source = |more: &[_]| read(more, true).unwrap().source;
    let FileSource::FederatedToken(file) = source(&[TOKEN]) else { panic!() };
    assert_eq!((&**file.client_id, &**file.path), ("c", "/token"));
    let FileSource::Certificate(file) = source(&[TOKEN, CERTIFICATE]) else { panic!() };
    assert_eq!((&**file.client_id, &**file.path), ("c", "/x.pem"));
    let secret = ("AZURE_CLIENT_SECRET", "s");
    assert!(matches!(source(&[TOKEN, CERTIFICATE, secret]), FileSource::Common(_)));
    assert!(matches!(source(&[]), FileSource::Common(EnvSource::Managed(_))));
}

#[test]
fn without_files_what_asks_for_one_is_named() {
    for asks in [CERTIFICATE, TOKEN] {
        assert_eq!(read(&[asks], false).unwrap_err(), ConfigError::Unsupported(asks.0));
    }
    assert!(read(&[("AZURE_CLIENT_SECRET", "s")], false).is_ok());
}

#[test]
fn what_needs_more_than_files_is_named_and_never_another_identity() {
    let proxy = ("AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1");
    let cases: [&[(&str, &str)]; 7] = [
        &[proxy, TOKEN],
        &[("IDENTITY_SERVER_THUMBPRINT", "x"), ENDPOINT, HEADER],
        &[("IMDS_ENDPOINT", "http://x"), ENDPOINT],
        &[("MSI_ENDPOINT", "http://x")],
        &[("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "s")],
        &[("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "true"), CERTIFICATE],
        &[("AZURE_CLIENT_CERTIFICATE_PASSWORD", "hush"), CERTIFICATE],
    ];
    for case in cases {
        assert_eq!(read(case, true).unwrap_err(), ConfigError::Unsupported(case[0].0), "{case:?}");
    }
}

#[test]
fn an_agent_of_azure_arc_is_an_error_and_never_the_metadata_service() {
    let agent = "/opt/azcmagent/bin/himds";
    let error = beside(agent, &[], true).unwrap_err();
    assert_eq!(error, ConfigError::ArcAgent);
    assert!(error.to_string().contains("the agent of Azure Arc"), "{error}");
    assert!(beside(agent, &[TOKEN], true).is_ok());
    let service = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://x");
    assert!(beside(agent, &[service], true).is_ok());
}

#[test]
fn an_application_needs_its_id_and_a_tenant_that_can_issue_its_tokens() {
    for asks in [CERTIFICATE, TOKEN] {
        let alone = |name: &str| [HOST, asks].iter().find(|(known, _)| *known == name).copied();
        let get = |name: &str| alone(name).map(|(_, value)| value.into());
        let read = FileEnvironment::read(get, |_| false, true);
        assert_eq!(read.unwrap_err(), ConfigError::Missing("AZURE_CLIENT_ID"));
    }
    for asks in [CERTIFICATE, TOKEN] {
        let error = read(&[asks, ("AZURE_AUTHORITY_HOST", "http://x")], true).unwrap_err();
        assert!(error.to_string().contains("must be an https URL"), "{error}");
    }
}

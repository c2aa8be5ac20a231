//! Hosts that support all identities.

use super::*;
use alloc::format;
use redis_entraid_core::source::Start;
use redis_entraid_core::time::Instant;

const WORKLOAD: [(&str, &str); 4] = [
    HOST,
    ("AZURE_CLIENT_ID", "c"),
    ("AZURE_TENANT_ID", "t"),
    ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"),
];
const SHA1: &str = "A94A8FE5CCB19BA61C4C0873D391E987982FBBD3";

fn native(variables: &[(&str, &str)]) -> Result<NativeEnvironment, ConfigError> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
    NativeEnvironment::read(|name| find(name).map(|(_, value)| (*value).to_owned()), |_| false)
}

/// On a machine where there is this file.
fn beside(file: &str, variables: &[(&str, &str)]) -> Result<NativeEnvironment, ConfigError> {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
    let get = |name: &str| find(name).map(|(_, value)| (*value).to_owned());
    NativeEnvironment::read(get, |path| path == file)
}

#[test]
fn without_variables_azure_arc_is_found_by_the_program_of_its_agent() {
    const LINUX: &str = "/opt/azcmagent/bin/himds";
    const WINDOWS: &str = r"C:\Program Files\AzureConnectedMachineAgent\himds.exe";
    let (folder, data) =
        (("ProgramFiles", r"C:\Program Files"), ("ProgramData", r"C:\ProgramData"));
    let found = Chosen::AzureArc { by_variables: false };
    for (file, variables) in [(LINUX, &[HOST][..]), (WINDOWS, &[HOST, folder, data])] {
        let read = beside(file, variables).unwrap();
        assert_eq!(read.chosen, found, "{file}");
        let NativeSource::AzureArc(mut source) = read.source else { panic!() };
        let mut asked = [0; 512];
        _ = source.next(Input::Start(Start::new(Instant::FAR_FUTURE)), &mut asked).unwrap();
        assert!(asked.starts_with(b"http://127.0.0.1:40342/metadata/identity/oauth2/token?"));
    }
    assert!(found.to_string().contains("its agent is installed"));
    // What a variable asks for comes first, and so does where it says that the metadata service is.
    let chosen = |more: &[_]| beside(LINUX, &[&[HOST], more].concat()).map(|read| read.chosen);
    let arc = [ENDPOINT, ("IMDS_ENDPOINT", "http://x")];
    assert_eq!(chosen(&arc), Ok(Chosen::AzureArc { by_variables: true }));
    assert_eq!(chosen(&[ENDPOINT, HEADER]), Ok(Chosen::AppService { client_id: None }));
    let service = ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://x");
    assert_eq!(chosen(&[service]), Ok(Chosen::Imds { client_id: None }));
    assert_eq!(chosen(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")]), Ok(found));
    // It has one identity.
    let error = chosen(&[("AZURE_CLIENT_ID", "c")]).unwrap_err();
    assert_eq!(error, ConfigError::Unsupported("AZURE_CLIENT_ID"));
}

#[test]
fn the_first_identity_whose_variables_are_set_is_chosen() {
    // From the last one to the first: each is chosen although those after it are set, too.
    let order: [(&[(&str, &str)], &str); 8] = [
        (&[("MSI_ENDPOINT", "http://x")], "the person who is signed in to Cloud Shell"),
        (&[("MSI_SECRET", "s")], "managed identity of Azure Machine Learning, system"),
        (&[ENDPOINT, ("IMDS_ENDPOINT", "http://x")], "managed identity of this server"),
        (&[HEADER], "managed identity of this app, system-assigned"),
        (
            &[("IDENTITY_SERVER_THUMBPRINT", SHA1)],
            "managed identity of this application on Service",
        ),
        (&WORKLOAD, "workload identity c of tenant t (AZURE_FEDERATED_TOKEN_FILE is set)"),
        (
            &[("AZURE_CLIENT_CERTIFICATE_PATH", "/x.pem")],
            "service principal c of tenant t by its certificate",
        ),
        (
            &[("AZURE_CLIENT_SECRET", "s")],
            "service principal c of tenant t (AZURE_CLIENT_SECRET is set)",
        ),
    ];
    let mut variables = std::vec![HOST];
    for (more, said) in order {
        variables.extend(more);
        let chosen = native(&variables).unwrap().chosen.to_string();
        assert!(chosen.starts_with(said), "{chosen}");
    }
    let imds = native(&[HOST]).unwrap().chosen;
    assert_eq!(imds, Chosen::Imds { client_id: None });
}

#[test]
fn an_identity_that_cannot_be_selected_is_not_taken_for_another_one() {
    let id = ("AZURE_CLIENT_ID", "c");
    let thumbprint = ("IDENTITY_SERVER_THUMBPRINT", SHA1);
    for variables in [
        &[HOST, id, ("MSI_ENDPOINT", "http://x")][..],
        &[HOST, id, ENDPOINT, ("IMDS_ENDPOINT", "http://x")],
        &[HOST, id, ENDPOINT, HEADER, thumbprint],
    ] {
        let error = native(variables).unwrap_err();
        assert_eq!(error, ConfigError::Unsupported("AZURE_CLIENT_ID"), "{variables:?}");
    }
    let job = [HOST, ("MSI_ENDPOINT", "http://x"), ("MSI_SECRET", "s")];
    let assigned = |more: &[_]| match native(&[&job[..], more].concat()).unwrap().chosen {
        Chosen::MachineLearning { client_id } => client_id,
        other => panic!("{other}"),
    };
    let default = ("DEFAULT_IDENTITY_CLIENT_ID", "d");
    assert_eq!(assigned(&[default]).as_deref(), Some("d"));
    assert_eq!(assigned(&[default, id]).as_deref(), Some("c"));
}

#[test]
fn a_token_proxy_has_its_own_name_and_authorities() {
    let with = |more: &[(&'static str, &'static str)]| {
        native(&[&WORKLOAD[..], more].concat()).map(|read| read.source)
    };
    let proxy = ("AZURE_KUBERNETES_TOKEN_PROXY", "https://10.0.0.1:443");
    let (name, file) = (("AZURE_KUBERNETES_SNI_NAME", "n"), ("AZURE_KUBERNETES_CA_FILE", "/ca"));
    let data = ("AZURE_KUBERNETES_CA_DATA", "-----BEGIN");
    let Ok(NativeSource::TokenProxy { server_name, roots, .. }) = with(&[proxy, name, file]) else {
        panic!()
    };
    assert_eq!((server_name.as_deref(), roots), (Some("n"), ProxyRoots::File("/ca".into())));
    let Ok(NativeSource::TokenProxy { server_name: None, roots, .. }) = with(&[proxy, data]) else {
        panic!()
    };
    assert_eq!(roots, ProxyRoots::Pem("-----BEGIN".into()));
    let error = |more: &[_]| with(more).unwrap_err();
    let missing = ConfigError::Missing("AZURE_KUBERNETES_TOKEN_PROXY");
    assert_eq!(
        [name, file, data].map(|one| error(&[one])),
        [missing.clone(), missing.clone(), missing]
    );
    let both = error(&[proxy, file, data]).to_string();
    assert!(both.contains("AZURE_KUBERNETES_CA_FILE and AZURE_KUBERNETES_CA_DATA"), "{both}");
    // Without the token, there is nothing for the proxy.
    let lost = native(&[HOST, proxy]).unwrap_err();
    assert_eq!(lost, ConfigError::Missing("AZURE_FEDERATED_TOKEN_FILE"));
    let clear = error(&[("AZURE_KUBERNETES_TOKEN_PROXY", "http://x")]).to_string();
    assert!(
        clear.contains("the token proxy (without user, query and fragment) must be an https URL"),
        "{clear}"
    );
}

#[test]
fn a_thumbprint_is_20_bytes() {
    for wrong in ["", "A94A", "x94A8FE5CCB19BA61C4C0873D391E987982FBBD3", &SHA1[1..]] {
        let variables = [HOST, ENDPOINT, HEADER, ("IDENTITY_SERVER_THUMBPRINT", wrong)];
        let read = native(&variables);
        match wrong {
            "" => assert_eq!(read.unwrap().chosen, Chosen::AppService { client_id: None }),
            _ => {
                let error = ConfigError::Invalid("IDENTITY_SERVER_THUMBPRINT");
                assert_eq!(read.unwrap_err(), error, "{wrong}");
            }
        }
    }
    let lower = SHA1.to_lowercase();
    let variables = [HOST, ENDPOINT, HEADER, ("IDENTITY_SERVER_THUMBPRINT", &*lower)];
    let Ok(NativeSource::ServiceFabric { thumbprint, .. }) =
        native(&variables).map(|read| read.source)
    else {
        panic!()
    };
    assert_eq!((thumbprint[0], thumbprint[19]), (0xa9, 0xd3));
}

#[test]
fn a_certificate_names_its_file_and_what_is_not_supported_is_an_error() {
    let file = [HOST, WORKLOAD[1], WORKLOAD[2], ("AZURE_CLIENT_CERTIFICATE_PATH", "/x.pfx")];
    let password = ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "hush");
    let read = native(&[&file[..], &[password]].concat()).unwrap();
    let NativeSource::Certificate(CertificateFile { path, password, .. }) = &read.source else {
        panic!()
    };
    assert!(!format!("{:?}", read.source).contains("hush"));
    assert_eq!((&**path, password.as_ref().map(|text| &***text)), ("/x.pfx", Some("hush")));
    let name = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";
    let chain = native(&[&file[..], &[(name, "TRUE")]].concat()).unwrap_err();
    assert_eq!(chain, ConfigError::Unsupported(name));
    assert!(native(&[&file[..], &[(name, "false")]].concat()).is_ok());
    let common = native(&[HOST, file[3]]).unwrap_err();
    assert_eq!(common, ConfigError::Missing("AZURE_CLIENT_ID"));
}

#[test]
fn a_tool_is_asked_for_by_microsofts_names() {
    let tool = |name| native(&[HOST, ("AZURE_TOKEN_CREDENTIALS", name), HEADER, ENDPOINT]);
    for (name, tool_of) in [
        ("dev", DeveloperTool::Any),
        ("azureclicredential", DeveloperTool::AzureCli),
        ("AzurePowerShellCredential", DeveloperTool::AzurePowerShell),
        ("AzureDeveloperCliCredential", DeveloperTool::AzureDeveloperCli),
    ] {
        let read = tool(name).unwrap();
        assert_eq!(read.chosen, Chosen::Developer { tool: tool_of });
        assert!(read.chosen.credential().eq_ignore_ascii_case(name));
    }
    let error = tool("VisualStudioCodeCredential").unwrap_err();
    assert_eq!(error, ConfigError::Unsupported("AZURE_TOKEN_CREDENTIALS"));
}

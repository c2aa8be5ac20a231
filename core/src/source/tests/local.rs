//! The endpoints of managed identities that a machine has.

use super::*;

const ARC: &str = "http://localhost:40342/metadata/identity/oauth2/token";

#[test]
fn each_endpoint_is_asked_in_its_own_words() {
    let resource = "resource=https%3A%2F%2Fredis.azure.com";
    assert_eq!(
        first_request(&mut AzureArc::new(ARC)),
        format!("GET {ARC}?api-version=2020-06-01&{resource} LinkLocal\nMetadata: true\n")
    );
    assert_eq!(
        first_request(&mut CloudShell::new("http://localhost:50342/oauth2/token")),
        format!(
            "POST http://localhost:50342/oauth2/token LinkLocal\nMetadata: true\n\
            Content-Type: application/x-www-form-urlencoded\n{resource}"
        )
    );
    let job = || MachineLearning::new("http://x/MSI/auth", "hush-hush");
    let asked = format!("GET http://x/MSI/auth?api-version=2017-09-01&{resource}");
    let secret = "LinkLocal\nsecret: hush-hush\n";
    assert_eq!(first_request(&mut job()), format!("{asked} {secret}"));
    assert_eq!(
        first_request(&mut job().with_client_id("a b")),
        format!("{asked}&clientid=a%20b {secret}")
    );
    assert_eq!(
        first_request(&mut ServiceFabric::new("https://x/token?a=b", "hush-hush")),
        format!(
            "GET https://x/token?a=b&api-version=2019-07-01-preview&{resource} LinkLocal\n\
            Secret: hush-hush\n"
        )
    );
    let shown = format!("{:?} {:?}", job(), ServiceFabric::new("https://x", "hush-hush"));
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn what_is_missing_is_named_before_anything_is_sent() {
    let error = |source: &mut dyn Source| {
        let error = source.next(Input::Start(Start::new(DEADLINE)), &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    };
    assert!(error(&mut AzureArc::new("")).contains("the endpoint of Azure Arc is empty"));
    assert!(error(&mut CloudShell::new("")).contains("the endpoint of Cloud Shell is empty"));
    let job = || MachineLearning::new("http://x", "s");
    assert!(error(&mut MachineLearning::new("", "s")).contains("the endpoint of Azure Machine"));
    assert!(error(&mut MachineLearning::new("http://x", "")).contains("the secret"));
    assert!(error(&mut job().with_client_id("")).contains("the identity's id"));
    let clear = error(&mut ServiceFabric::new("http://x", "s"));
    assert!(clear.contains("the endpoint of Service Fabric must be an https URL"), "{clear}");
    assert!(error(&mut ServiceFabric::new("https://x", "")).contains("the secret"));
}

/// What Arc wants after a challenge.
fn challenged(arc: &mut AzureArc<&str>, challenge: &str) -> Result<String, SourceError> {
    let (mut out, mut memory) = ([0; 512], [0; 512]);
    _ = arc.next(Input::Start(Start::new(DEADLINE)), &mut out)?;
    let mut writer = ResponseWriter::new(&mut memory);
    writer.status(401);
    writer.header("WWW-Authenticate", challenge.as_bytes());
    match arc.next(Input::Response(writer.finish()), &mut out)? {
        Step::ReadFile { path, max: 4096 } => Ok(path.text(&out).unwrap().to_string()),
        step => panic!("{step:?}"),
    }
}

#[test]
fn arc_proves_that_it_can_read_the_key_file_of_each_request() {
    let mut arc = AzureArc::new(ARC);
    for key in ["key-1", "key-2"] {
        let file = format!("/var/opt/azcmagent/tokens/{key}.key");
        assert_eq!(challenged(&mut arc, &format!("Basic realm={file}")), Ok(file));
        let mut out = [0; 512];
        let content = format!("{key}\n");
        let Step::Http(request) = arc.next(Input::File(content.as_bytes()), &mut out).unwrap()
        else {
            panic!()
        };
        let request = request.read(&out, DEADLINE).unwrap();
        assert!(request.url.starts_with(ARC));
        let headers: Vec<_> = request.headers.iter().collect();
        let proof = format!("Basic {key}");
        assert_eq!(headers, [("Metadata", "true"), ("Authorization", &*proof)]);
        assert!(answer(&mut arc, 200, &[], br#"{"access_token":"a.b.c"}"#).is_ok());
    }
    // A second refusal is one.
    challenged(&mut arc, "Basic realm=\"/var/opt/azcmagent/tokens/x.key\"").unwrap();
    _ = arc.next(Input::File(b"key"), &mut [0; 512]).unwrap();
    let error = answer(&mut arc, 401, &[], b"").unwrap_err();
    assert!(matches!(error, SourceError::Refused { status: 401, .. }), "{error:?}");
}

#[test]
fn arc_reads_no_file_but_the_agents_keys() {
    for challenge in [
        "",
        "Basic",
        "Basic realm=/etc/shadow",
        "Basic realm=/etc/x.key",
        "Basic realm=/var/opt/azcmagent/tokens/x",
        "Basic realm=/var/opt/azcmagent/tokens/.key",
        "Basic realm=/var/opt/azcmagent/tokens/...key",
        "Basic realm=/var/opt/azcmagent/tokens/../../x.key",
        "Basic realm=/var/opt/azcmagent/tokens/a/b.key",
        "Basic realm=/var/opt/azcmagent/tokensx.key",
        "Basic realm=/var/opt/azcmagent/tokens2/x.key",
        "Digest realm=/var/opt/azcmagent/tokens/x.key",
    ] {
        let error = challenged(&mut AzureArc::new(ARC), challenge).unwrap_err();
        assert!(error.to_string().contains("named no key file"), "{challenge}: {error}");
    }
    let folder = r"C:\ProgramData\AzureConnectedMachineAgent\Tokens";
    let mut arc = AzureArc::new(ARC).with_folder(folder);
    let file = format!(r"{folder}\x.key");
    assert_eq!(challenged(&mut arc, &format!("Basic realm={file}")), Ok(file));
    assert!(challenged(&mut arc, "Basic realm=/var/opt/azcmagent/tokens/x.key").is_err());
}

#[test]
fn a_key_file_that_is_of_no_use_is_no_reason_to_take_another_identity() {
    let mut arc = AzureArc::new(ARC);
    let mut read = |input: Input<'_>| {
        challenged(&mut arc, "Basic realm=/var/opt/azcmagent/tokens/x.key").unwrap();
        let error = arc.next(input, &mut [0; 512]).unwrap_err();
        (error.kind(), error.is_elsewhere(), error.to_string())
    };
    for content in [&b""[..], b"\n", b"two lines\r\nX: y", b"\xff"] {
        let (kind, elsewhere, _) = read(Input::File(content));
        assert_eq!((kind, elsewhere), (ErrorKind::Transient, false));
    }
    let (kind, elsewhere, _) = read(Input::Failed(IoFailure::NotFound));
    assert_eq!((kind, elsewhere), (ErrorKind::Transient, false));
    let (kind, elsewhere, error) = read(Input::Failed(IoFailure::File));
    assert_eq!((kind, elsewhere), (ErrorKind::Configuration, false));
    assert!(error.contains("group himds"), "{error}");
    // This host has no files at all: it is not Arc's.
    let (kind, elsewhere, _) = read(Input::Failed(IoFailure::Unsupported));
    assert_eq!((kind, elsewhere), (ErrorKind::Configuration, true));
}

#[test]
fn every_endpoint_of_a_machine_says_404_while_it_is_updated() {
    let sources: [&mut dyn Source; 4] = [
        &mut AzureArc::new(ARC),
        &mut CloudShell::new("http://x"),
        &mut MachineLearning::new("http://x", "s"),
        &mut ServiceFabric::new("https://x", "s"),
    ];
    for mut source in sources {
        _ = source.next(Input::Start(Start::new(DEADLINE)), &mut [0; 512]).unwrap();
        assert_eq!(answer(&mut source, 404, &[], b"").unwrap_err().kind(), ErrorKind::Transient);
        _ = source.next(Input::Start(Start::new(DEADLINE)), &mut [0; 512]).unwrap();
        let error = source.next(Input::Failed(IoFailure::Connect), &mut []).unwrap_err();
        assert!(error.is_elsewhere());
    }
    let mut fabric = ServiceFabric::new("https://x", "s");
    let error = fabric.next(Input::Failed(IoFailure::Tls), &mut []).unwrap_err();
    assert!(error.to_string().contains("IDENTITY_SERVER_THUMBPRINT"), "{error}");
}

//! Applications, and what each of them proves itself with.

use super::*;

#[test]
fn a_service_principal_asks_as_microsofts_clients_do() {
    assert_eq!(
        first_request(&mut principal()),
        format!(
            "POST https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token Internet\n\
            Content-Type: application/x-www-form-urlencoded\nAccept: application/json\n\
            client_id=my%20client&grant_type=client_credentials&client_secret=s3cr%2Bt%26~%2F%3D\
            &scope=https%3A%2F%2Fredis.azure.com%2F.default"
        )
    );
}

#[test]
fn a_federated_token_is_read_for_each_request_and_sent_as_an_assertion() {
    let path = "/var/run/secrets/azure/tokens/azure-identity-token";
    let mut source = WorkloadIdentity::new(Authority::tenant(TENANT), "id", path);
    for token in ["the.first.token", "the.second.token-_"] {
        let mut out = [0; 1024];
        let step = source.next(Input::Start(Start::new(DEADLINE)), &mut out).unwrap();
        let Step::ReadFile { path: asked, .. } = step else { panic!("{step:?}") };
        assert_eq!(asked.text(&out), Some(path));
        let content = format!("\u{feff}{token}\n");
        let step = source.next(Input::File(content.as_bytes()), &mut out).unwrap();
        let Step::Http(request) = step else { panic!("{step:?}") };
        let request = request.read(&out, DEADLINE).unwrap();
        let body = core::str::from_utf8(request.body).unwrap();
        assert_eq!(
            body,
            format!(
                "client_id=id&grant_type=client_credentials\
                &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                &client_assertion={token}&scope=https%3A%2F%2Fredis.azure.com%2F.default"
            )
        );
    }
    // What isn't a token, as another secret, isn't sent. A file that is being replaced comes back.
    let key = b"-----BEGIN PRIVATE KEY-----\nMII.x.y\n";
    for content in [&b""[..], b" \n", b"\xff.a.b", b"a.b", b"a..b", b"a.b.c.d", b"a.b c.d", key] {
        let error = source.next(Input::File(content), &mut [0; 1024]).unwrap_err();
        assert!(error.kind().is_retryable() && !error.is_elsewhere(), "{content:?}");
        assert!(error.to_string().contains("the federated token file"), "{error}");
    }
    let gone = source.next(Input::Failed(IoFailure::NotFound), &mut [0; 64]).unwrap_err();
    assert!(gone.kind().is_retryable() && !gone.is_elsewhere());
    // A file belongs to a federated token alone.
    let file = principal().next(Input::File(b"token"), &mut [0; 1024]).unwrap_err();
    assert_eq!(file, SourceError::ORDER);
    let no_path = WorkloadIdentity::new(Authority::tenant("t"), "id", "");
    assert!(no_path.check().is_err());
}

#[test]
fn no_other_identity_takes_the_place_of_a_principal_whose_network_is_down() {
    let mut chain = Chain::new(principal(), imds());
    let mut out = [0; 1024];
    let step = chain.next(Input::Start(Start::new(DEADLINE)), &mut out);
    assert!(matches!(step, Ok(Step::Http(_))));
    let error = chain.next(Input::Failed(IoFailure::Connect), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("login.microsoftonline.com:443"), "{error}");
}

/// The text of a part of a JWT.
fn decoded(part: &str) -> String {
    let mut room = [0; 1024];
    let bytes = crate::base64::decode(part.as_bytes(), &mut room).unwrap();
    core::str::from_utf8(bytes).unwrap().to_string()
}

fn start() -> Start {
    Start::new(DEADLINE).with_unix_time(Some(UnixTime(1_767_225_600))).with_nonce(Some([0xfb; 16]))
}

#[test]
fn a_certificate_signs_a_statement_for_ten_minutes() {
    // Each length of what is encoded, and what JSON has to escape.
    for id in ["id", "id2", "id23", "i\"d\\"] {
        let authority = Authority::tenant(TENANT);
        let mut source = ClientCertificate::new(authority, id, [0xfb; 32]).with_key(3);
        let mut out = [0; 2048];
        let step = source.next(Input::Start(start()), &mut out).unwrap();
        let Step::Sign { algorithm: Algorithm::Ps256, key: 3, data } = step else {
            panic!("{step:?}")
        };
        let signed = data.text(&out).unwrap().to_string();
        let (header, claims) = signed.split_once('.').unwrap();
        let thumbprint = "-_v7".repeat(10) + "-_s";
        let expected = format!(r#"{{"alg":"PS256","typ":"JWT","x5t#S256":"{thumbprint}"}}"#);
        assert_eq!(decoded(header), expected);
        let url = format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token");
        let escaped = id.replace('\\', "\\\\").replace('"', "\\\"");
        assert_eq!(
            decoded(claims),
            format!(
                r#"{{"aud":"{url}","iss":"{escaped}","sub":"{escaped}","jti":"-_v7-_v7-_v7-_v7-_v7-w","nbf":1767225600,"iat":1767225600,"exp":1767226200}}"#
            )
        );
        let step = source.next(Input::Signature(&[0xfb; 4]), &mut out).unwrap();
        let Step::Http(request) = step else { panic!("{step:?}") };
        let request = request.read(&out, DEADLINE).unwrap();
        assert_eq!((request.url, request.route), (&*url, Route::Internet));
        let body = core::str::from_utf8(request.body).unwrap();
        assert!(body.contains(&format!("&client_assertion={signed}.-_v7-w&scope=https")), "{body}");
        assert!(body.starts_with("client_id=i") && !body.contains("client_secret"), "{body}");
    }
}

#[test]
fn a_certificate_needs_the_time_and_random_bytes_and_a_key() {
    let source = || ClientCertificate::new(Authority::tenant(TENANT), "id", [0; 32]);
    let mut out = [0; 2048];
    let early = Input::Start(start().with_unix_time(None));
    let early = source().next(early, &mut out).unwrap_err();
    assert_eq!((early.kind(), early.is_elsewhere()), (ErrorKind::Clock, false));
    let no_nonce = source().next(Input::Start(start().with_nonce(None)), &mut out).unwrap_err();
    assert_eq!(no_nonce, SourceError::Config(ConfigError::Missing("random bytes")));
    let mut source = source();
    // A buffer that is too small for the statement, or for the signature.
    let small = source.next(Input::Start(start()), &mut [0; 300]).unwrap_err();
    let SourceError::Capacity(CapacityError { needed, .. }) = small else { panic!("{small:?}") };
    let mut exact = std::vec![0; needed];
    assert!(matches!(source.next(Input::Start(start()), &mut exact), Ok(Step::Sign { .. })));
    let small = source.next(Input::Signature(&[0; 256]), &mut exact).unwrap_err();
    assert!(matches!(small, SourceError::Capacity(_)), "{small:?}");
    for (failure, elsewhere) in [(IoFailure::NotFound, false), (IoFailure::Unsupported, true)] {
        _ = source.next(Input::Start(start()), &mut out).unwrap();
        let error = source.next(Input::Failed(failure), &mut out).unwrap_err();
        assert_eq!((error.kind(), error.is_elsewhere()), (ErrorKind::Configuration, elsewhere));
    }
    // A signature that nobody asked for.
    _ = source.next(Input::Start(start()), &mut out).unwrap();
    _ = source.next(Input::Signature(&[0; 256]), &mut out).unwrap();
    let error = source.next(Input::Signature(&[0; 256]), &mut out).unwrap_err();
    assert_eq!(error, SourceError::ORDER);
}

#[test]
fn a_certificate_that_was_replaced_is_named_by_its_own_thumbprint() {
    let mut source = ClientCertificate::new(Authority::tenant(TENANT), "id", [0; 32]);
    source.set_thumbprint([0xfb; 32]);
    let mut out = [0; 2048];
    let Step::Sign { data, .. } = source.next(Input::Start(start()), &mut out).unwrap() else {
        panic!()
    };
    let (header, _) = data.text(&out).unwrap().split_once('.').unwrap();
    assert!(decoded(header).contains("-_v7-_v7"));
}

#[test]
fn an_assertion_of_another_issuer_is_sent_as_it_is() {
    let mut source = ClientAssertion::new(Authority::tenant(TENANT), "id", "a.b-_.c\n");
    let said = first_request(&mut source);
    assert!(said.contains("jwt-bearer&client_assertion=a.b-_.c&scope="), "{said}");
    source.set_assertion("d.e.f");
    let said = first_request(&mut source);
    assert!(said.contains("&client_assertion=d.e.f&scope="), "{said}");
    let empty = ClientAssertion::new(Authority::tenant(TENANT), "id", "");
    assert_eq!(empty.check(), Err(ConfigError::Empty("the assertion")));
    assert!(!format!("{source:?}").contains("d.e"));
}

#[test]
fn an_assertion_that_is_no_jwt_is_not_sent() {
    let mut out = [0; 1024];
    for wrong in ["Bearer a.b.c", "a.b", "a.b.c.d", "a..c", "a.b.c d", "secret", "a.b.\u{e9}"] {
        let mut source = ClientAssertion::new(Authority::tenant(TENANT), "id", wrong);
        let error = source.next(Input::Start(start()), &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{wrong}");
        let said = error.to_string();
        assert!(said.contains("no JWT") && !said.contains(wrong), "{said}");
    }
}

#[test]
fn a_scope_that_is_empty_is_not_sent() {
    let empty = Err(ConfigError::Empty("the scope"));
    let authority = || Authority::tenant(TENANT);
    let assertion =
        |scope| ClientAssertion::new(authority(), "id", "a.b.c").with_scope(scope).check();
    assert_eq!((assertion(""), assertion("s")), (empty, Ok(())));
    assert_eq!(ClientCertificate::new(authority(), "id", [0; 32]).with_scope("").check(), empty);
    assert_eq!(WorkloadIdentity::new(authority(), "id", "/t").with_scope("").check(), empty);
    let secret = ServicePrincipal::with_secret(authority(), "id", "s").with_scope("");
    assert_eq!(secret.check(), empty);
}

#[test]
fn a_federated_token_of_16_kib_fits_into_the_request_memory_of_hosts() {
    let mut token = [b'a'; 16 << 10];
    [token[9], token[99]] = [b'.'; 2];
    let authority =
        Authority::custom("https://login.microsoftonline.us/72f988bf-86f1-41af-91ab-2d7cd011db47");
    let id = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let mut source = WorkloadIdentity::new(authority, id, "/token");
    let mut out = [0; (16 << 10) + 512];
    assert!(matches!(source.next(Input::File(&token), &mut out), Ok(Step::Http(_))));
}

#[test]
fn a_token_proxy_takes_the_place_of_the_authority_and_keeps_its_path() {
    let asked = |authority, proxy| {
        let mut source = WorkloadIdentity::new(authority, "id", "/token").with_proxy(proxy);
        source.check()?;
        let mut out = [0; 1024];
        let Step::Http(request) = source.next(Input::File(b"a.b.c"), &mut out).unwrap() else {
            panic!()
        };
        // Neither a proxy of the network nor another client is in between.
        assert_eq!(request.route, Route::LinkLocal);
        Ok(request.url.text(&out).unwrap().to_string())
    };
    let tenant = || Authority::tenant("t");
    let behind = "/t/oauth2/v2.0/token";
    assert_eq!(asked(tenant(), "https://p"), Ok(format!("https://p{behind}")));
    assert_eq!(asked(tenant(), "https://p:8443/x/"), Ok(format!("https://p:8443/x{behind}")));
    let custom = Authority::custom("https://login.example/x/t/");
    assert_eq!(asked(custom, "https://p/"), Ok(format!("https://p/x{behind}")));
    for wrong in ["", "http://p", "https://", "https://u@p", "https://p?q", "https://p/#f"] {
        assert_eq!(
            asked(tenant(), wrong),
            Err(ConfigError::NotHttps("the token proxy (without user, query and fragment)")),
            "{wrong}"
        );
    }
}

//! The main job against the emulator: token over HTTPS, verified TLS, login, and staying
//! logged in.
#![cfg(all(feature = "http", feature = "tls"))]

mod emulated;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use emulated::{client, emulator};
use redis_entraid::entraid_core::policy::Ratio;
use redis_entraid::error::{Error, ErrorKind, Outcome};
use redis_entraid::tls::Roots;
use redis_entraid::{Client, Event, RefreshPolicy, args};

#[tokio::test]
async fn it_logs_in_and_answers() {
    let emulator = emulator(3600);
    let mut redis = client(&emulator).connect().await.unwrap();
    let reply = redis.command(args!["SET", "greeting", "hello"]).await.unwrap();
    assert_eq!(reply.str().unwrap(), "OK");
    assert_eq!(redis.command(args!["GET", "greeting"]).await.unwrap().str().unwrap(), "hello");
    let error = redis.command(args!["INCR", "greeting"]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("ERR")));
    let replies = redis
        .pipeline([
            args!["SET", "n", 41],
            args!["INCR", "n"],
            args!["NOSUCH", "n"],
            args!["GET", "n"],
        ])
        .await
        .unwrap();
    let replies: Vec<_> =
        replies.map(|reply| reply.map(|value| value.str().unwrap().to_owned())).collect();
    assert_eq!(replies[1].as_deref().unwrap(), "42");
    assert_eq!(replies[2].as_ref().unwrap_err().code(), Some("ERR"));
    assert_eq!(replies[3].as_deref().unwrap(), "42");
    let counts = emulator.counts();
    assert_eq!((counts.token_requests, counts.logins, counts.connections), (1, 1, 1));
    let health = redis.health();
    assert!(health.is_ready() && health.reconnects == 0, "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_logged_in_while_tokens_come_and_go() {
    let emulator = emulator(12);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    // Each login ends seconds after the next one is due: a machine may stand still for so long.
    let policy = RefreshPolicy {
        expiration_refresh_ratio: Ratio::percent(50),
        reauth_spread: Duration::from_secs(1),
        ..RefreshPolicy::default()
    };
    let mut redis = client(&emulator)
        .policy(policy)
        .on_event(move |event| seen.lock().unwrap().push(*event))
        .connect()
        .await
        .unwrap();
    let mut commands = 0;
    let start = tokio::time::Instant::now();
    // A token is asked for every five seconds at the most: the first one has ended then.
    while redis.health().reauths < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", redis.health());
        redis.command(args!["INCR", "n"]).await.unwrap();
        commands += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = emulator.counts();
    assert_eq!((counts.logins, counts.connections, counts.expired), (1, 1, 0));
    assert!(counts.reauths >= 3, "{counts:?}");
    let n = redis.command(args!["GET", "n"]).await.unwrap().int().unwrap();
    assert_eq!(n, commands);
    let events = events.lock().unwrap();
    let logins = events.iter().filter(|event| matches!(event, Event::Reauthenticated { .. }));
    assert!(logins.count() >= 3, "{events:?}");
}

#[tokio::test]
async fn a_refused_login_is_an_error_that_says_what_to_do_and_no_loop() {
    let emulator = emulator(3600);
    emulator.arm("auth#* wrongpass").unwrap();
    let error = client(&emulator).connect().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, Some("WRONGPASS")));
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert!(error.to_string().contains("object id"), "{error}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(emulator.counts().refused, 1);
}

#[tokio::test]
async fn a_wrong_secret_is_an_error_that_keeps_entras_code() {
    let emulator = emulator(3600);
    emulator.arm("token#* refuse invalid_client 7000215").unwrap();
    let error = client(&emulator).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Token);
    let text = error.to_string();
    assert!(text.contains("AADSTS7000215") && text.contains("wrong client secret"), "{text}");
    assert!(text.contains("an emulated refusal"), "the service's own words: {text}");
    // Not all machines of Entra may know it yet: a few more attempts.
    assert_eq!(emulator.counts().token_requests, 4);
}

#[tokio::test]
async fn a_server_that_is_not_the_one_is_refused() {
    let emulator = emulator(3600);
    let trusted_by_nobody = Client::builder("localhost")
        .port(emulator.redis_port())
        .source(redis_entraid::source::StaticToken::new("token").user("oid"))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(trusted_by_nobody.kind(), ErrorKind::Tls);
    let text = trusted_by_nobody.to_string();
    let expected = "certificate chain not trusted: it ends below CN=Emulated Global Root G2";
    assert!(text.contains(expected), "{text}");
    let wrong_name = Client::builder("cache.westeurope.redis.azure.net")
        .address("127.0.0.1")
        .port(emulator.redis_port())
        .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
        .source(redis_entraid::source::StaticToken::new("token").user("oid"))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(wrong_name.kind(), ErrorKind::Tls);
    assert!(wrong_name.to_string().contains("not valid for name"), "{wrong_name}");
    assert_eq!(emulator.counts().refused, 0);
}

#[tokio::test]
async fn the_address_and_the_name_may_differ() {
    let emulator = emulator(3600);
    let mut redis = client(&emulator);
    redis = redis.address("127.0.0.1");
    let mut redis = redis.connect().await.unwrap();
    redis.command(args!["PING"]).await.unwrap();
    // A name that the wildcard of the certificate covers, and that no DNS knows.
    let identity = redis.identity().clone();
    let mut other = Client::builder("cache.emulator.redis.azure.net")
        .address("127.0.0.1")
        .port(emulator.redis_port())
        .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
        .identity(&identity)
        .connect()
        .await
        .unwrap();
    other.command(args!["PING"]).await.unwrap();
    assert_eq!(emulator.counts().token_requests, 1, "one token for any number of connections");
}

#[tokio::test]
async fn a_cut_connection_comes_back_by_itself() {
    let emulator = emulator(3600);
    let patient = client(&emulator).command_timeout(Duration::from_secs(60));
    let mut redis = patient.connect().await.unwrap();
    redis.command(args!["SET", "k", "v"]).await.unwrap();
    emulator.arm("cmd#2 cut").unwrap();
    let error = redis.command(args!["GET", "k"]).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Lost, Outcome::Unknown), "{error}");
    assert_eq!(redis.command(args!["GET", "k"]).await.unwrap().str().unwrap(), "v");
    assert_eq!(redis.health().reconnects, 1);
    assert_eq!(emulator.counts().token_requests, 1);
}

#[tokio::test]
async fn tls_that_ends_without_a_word_was_cut_and_the_event_says_so() {
    let emulator = emulator(3600);
    let events = Arc::new(Mutex::new(String::new()));
    let heard = events.clone();
    let redis = client(&emulator)
        .on_event(move |event| heard.lock().unwrap().push_str(&event.to_string()))
        .connect()
        .await
        .unwrap();
    emulator.cut();
    let start = std::time::Instant::now();
    while redis.health().reconnects == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", redis.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = events.lock().unwrap().clone();
    let expected = "disconnected: the connection broke: unexpected end of stream";
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn who_waits_in_vain_is_told_why() {
    let emulator = emulator(3600);
    let mut redis =
        client(&emulator).command_timeout(Duration::from_secs(2)).connect().await.unwrap();
    emulator.arm("connect#2+ cut").unwrap();
    emulator.cut();
    // The next attempt is made when a while has passed.
    while !matches!(redis.problem(), Some(Error::Connect(_))) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = redis.command(args!["PING"]).await.unwrap_err();
    let Error::Unavailable { cause: Some(cause) } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, Error::Connect(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test]
async fn a_tls_handshake_that_nobody_answers_is_named_and_so_is_how_long_it_was_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = Client::builder("localhost")
        .address("127.0.0.1")
        .port(port)
        .source(redis_entraid::source::StaticToken::new("token").user("oid"))
        .start_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let text = error.to_string();
    assert!(text.contains("no answer to the TLS handshake"), "{text}");
    assert!(text.contains("within 0.3 s") || text.contains("within 0.2 s"), "{text}");
    assert!(text.contains("check the port"), "{text}");
}

/// Answers each request on a connection of its own with what is next.
async fn metadata_service(answers: &[&'static str]) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers.to_vec();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn half_a_token_document_that_ends_with_the_connection_is_asked_for_again() {
    use redis_entraid::source::{ManagedIdentity, Selector};
    let emulator = emulator(3600);
    let connect = async |cut| {
        let whole = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\
            {\"access_token\":\"a\",\"expires_in\":3599}";
        let port = metadata_service(&[cut, whole]).await;
        let source = ManagedIdentity::imds_at(format!("http://127.0.0.1:{port}"), Selector::System);
        client(&emulator).source(source).connect().await.map(|_| ())
    };
    // The token that comes then says of itself whose it is: nothing.
    let cut = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"access_token\":\"a\",\"expi";
    let error = connect(cut).await.unwrap_err();
    assert!(error.to_string().contains("can't read the user name from the token"), "{error}");
    // A document that is whole and wrong is another matter.
    let wrong = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{";
    let error = connect(wrong).await.unwrap_err();
    assert!(error.to_string().contains("JSON is truncated"), "{error}");
}

#[tokio::test]
async fn workload_identity_reads_the_federated_token_for_each_request() {
    let emulator = emulator(3600);
    let entra = emulator.entra();
    let file = std::env::temp_dir().join(format!("federated-token-{}", std::process::id()));
    let write = || std::fs::write(&file, format!("{}\n", entra.federated_token())).unwrap();
    write();
    let mut environment = emulator.environment();
    environment.retain(|(name, _)| *name != "AZURE_CLIENT_SECRET");
    environment.push(("AZURE_FEDERATED_TOKEN_FILE", file.display().to_string()));
    let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
    let connect = async || {
        Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))
            .unwrap()
            .roots(Roots::pem(emulator.root_pem().as_bytes()).unwrap())
            .policy(RefreshPolicy { reauth_spread: Duration::ZERO, ..RefreshPolicy::default() })
            .start_timeout(Duration::from_secs(3))
            .connect()
            .await
    };
    let mut redis = connect().await.unwrap();
    redis.command(args!["PING"]).await.unwrap();
    assert_eq!((emulator.counts().token_requests, emulator.counts().logins), (1, 1));
    // The file is replaced: the next request has the new one.
    entra.rotate_federated_token();
    write();
    redis.identity().refresh_now();
    tokio::time::timeout(Duration::from_secs(20), async {
        while redis.health().reauths == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    // One that Entra doesn't trust, and none at all, are errors that say so.
    entra.rotate_federated_token();
    let error = connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Token);
    assert!(error.to_string().contains("AADSTS700213"), "{error}");
    std::fs::write(&file, "").unwrap();
    let error = connect().await.unwrap_err();
    assert!(error.to_string().contains("the federated token file contains no JWT"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = connect().await.unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}

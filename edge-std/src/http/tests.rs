//! Ways through a proxy, and past it.

use std::sync::{Arc, Mutex};

use amr_emulator::{Emulator, Options, Store};
use hyper_util::client::proxy::matcher::Matcher;
use redis_entraid_core::source::{
    self, ManagedIdentity, Selector, ServicePrincipal, Source, Start,
};
use redis_entraid_core::time::{Clock, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::proxy::Proxies;
use super::*;
use crate::clock::TokioClock;
use crate::tls::Roots;

/// A proxy that notes what it is asked, and answers with `status`.
async fn proxy(status: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match client.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            noted.lock().unwrap().push(head);
            let answer = format!("HTTP/1.1 {status} Whatever\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
            if status == 200 {
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::spawn(async move {
                    _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        }
    });
    (format!("127.0.0.1:{port}"), heard)
}

fn http(emulator: &Emulator, proxies: Matcher) -> Http {
    let http = Http::new(Roots::pem(emulator.root_pem().as_bytes()).unwrap());
    Http { proxy: Arc::new(Proxies::by(proxies)), ..http }
}

fn emulator() -> Emulator {
    let store = Store::Builtin;
    Emulator::start(&Options { store, ..Options::default() }).unwrap()
}

fn principal(emulator: &Emulator) -> ServicePrincipal<String> {
    let entra = emulator.entra();
    let authority = source::Authority::at_host(emulator.authority(), entra.tenant.clone());
    let id = entra.principal.client_id.clone();
    ServicePrincipal::with_secret(authority, id, entra.secret.clone())
}

/// Whether there is a token, or why not.
async fn fetched(mut source: impl Source, mut http: Http) -> Result<(), String> {
    let (mut request, mut response) = (vec![0; 4096], vec![0; 16384]);
    let deadline: Instant = TokioClock.now().plus(TIME);
    let start = Start::new(deadline);
    let token = source::fetch(&mut source, &mut http, &start, &mut request, &mut response).await;
    token.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn entra_is_reached_through_the_proxy_and_verified_behind_it() {
    let emulator = emulator();
    let (address, heard) = proxy(200).await;
    for url in [format!("http://{address}"), format!("http://user:pass%40@{address}")] {
        let proxies = Matcher::builder().https(url).build();
        fetched(principal(&emulator), http(&emulator, proxies)).await.unwrap();
    }
    let target = emulator.authority().replace("https://", "");
    let heard = heard.lock().unwrap().clone();
    let [open, login] = &heard[..] else { panic!("{heard:?}") };
    assert!(open.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{open}");
    assert!(open.contains(&format!("host: {target}\r\n")), "{open}");
    assert!(!open.to_lowercase().contains("proxy-authorization"), "{open}");
    // user:pass@
    assert!(login.contains("proxy-authorization: Basic dXNlcjpwYXNzQA==\r\n"), "{login}");
    // One whose certificate nobody vouches for is behind the proxy.
    let proxies = Matcher::builder().https(format!("http://{address}")).build();
    let strict = Http { proxy: Arc::new(Proxies::by(proxies)), ..Http::new(Roots::default()) };
    let error = fetched(principal(&emulator), strict).await.unwrap_err();
    assert!(error.contains("TLS to the token endpoint failed"), "{error}");
}

#[tokio::test]
async fn a_managed_identity_and_an_excepted_host_are_never_asked_through_a_proxy() {
    let emulator = emulator();
    let (address, heard) = proxy(200).await;
    let all = || Matcher::builder().all(format!("http://{address}"));
    let managed = ManagedIdentity::imds_at(emulator.plain(), Selector::System);
    fetched(managed, http(&emulator, all().build())).await.unwrap();
    let excepted = all().no("localhost").build();
    fetched(principal(&emulator), http(&emulator, excepted)).await.unwrap();
    assert!(heard.lock().unwrap().is_empty());
    fetched(principal(&emulator), http(&emulator, all().build())).await.unwrap();
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_to_be_the_proxys() {
    let emulator = emulator();
    for (status, said) in [(407, "check HTTPS_PROXY"), (502, "can't connect to Entra")] {
        let (address, _) = proxy(status).await;
        let proxies = Matcher::builder().https(format!("http://{address}")).build();
        let error = fetched(principal(&emulator), http(&emulator, proxies)).await.unwrap_err();
        assert!(error.contains(said) && error.contains(&status.to_string()), "{error}");
    }
    // Nobody is there, and a kind of proxy that we don't speak to.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (url, said) in [
        (format!("http://{nobody}"), format!("the proxy {nobody}")),
        ("socks5://127.0.0.1:1".to_owned(), "not one of http or https".to_owned()),
    ] {
        let proxies = Matcher::builder().https(url).build();
        let error = fetched(principal(&emulator), http(&emulator, proxies)).await.unwrap_err();
        assert!(error.contains(&said), "{error}");
    }
    assert!(emulator.requests().is_empty());
}

/// Counts the requests, and hands them on.
#[derive(Clone)]
struct Counting(Http, Arc<Mutex<Vec<String>>>);

impl HttpClient for Counting {
    async fn send(
        &self,
        request: hyper::Request<Bytes>,
    ) -> Result<hyper::Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        self.1.lock().unwrap().push(request.uri().to_string());
        let (head, body) = request.into_parts();
        assert!(head.headers.get(HOST).is_none());
        let host = head.uri.authority().unwrap().to_string();
        let target = head.uri.path_and_query().unwrap().to_string();
        let mut inner = hyper::Request::builder().method(head.method).uri(target);
        for (name, value) in &head.headers {
            inner = inner.header(name, value);
        }
        let inner = inner.header(HOST, host).body(Full::new(body))?;
        let port = head.uri.port_u16().unwrap();
        let (mut memory, deadline) = (vec![0; 65536], TokioClock.now().plus(TIME));
        let mut writer = ResponseWriter::new(&mut memory);
        let endpoint = Endpoint::new("localhost", port).with_deadline(deadline);
        self.0.https(&endpoint, inner, &mut writer).await?;
        let answer = writer.finish();
        let body = Bytes::copy_from_slice(answer.body);
        Ok(hyper::Response::builder()
            .status(answer.status)
            .header("retry-after", "7")
            .body(body)?)
    }
}

const TIME: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_client_that_is_brought_sends_what_goes_to_entra_and_nothing_else() {
    let emulator = emulator();
    let inner = http(&emulator, Matcher::builder().build());
    let counting = Counting(inner.clone(), Arc::default());
    let ours = || inner.clone().with_client(counting.clone());
    fetched(principal(&emulator), ours()).await.unwrap();
    let managed = ManagedIdentity::imds_at(emulator.plain(), Selector::System);
    fetched(managed, ours()).await.unwrap();
    let asked = counting.1.lock().unwrap().clone();
    let url = format!("{}/{}/oauth2/v2.0/token", emulator.authority(), emulator.entra().tenant);
    assert_eq!(asked, [url]);
    // What it answers is judged as ever.
    emulator.reset();
    emulator.arm("token#1 status 503").unwrap();
    let error = fetched(principal(&emulator), ours()).await.unwrap_err();
    assert!(error.contains("503"), "{error}");
    emulator.reset();
    emulator.arm("token#1 status 429").unwrap();
    let error = fetched(principal(&emulator), ours()).await.unwrap_err();
    assert!(error.contains("429"), "{error}");
    // It has no connection.
    let nowhere = Counting(http(&emulator, Matcher::builder().build()), Arc::default());
    let authority = source::Authority::at_host("https://localhost:1".to_owned(), "t".to_owned());
    let source = ServicePrincipal::with_secret(authority, "c".to_owned(), "hush".to_owned());
    let error = fetched(source, inner.clone().with_client(nowhere)).await.unwrap_err();
    assert!(error.contains("can't connect to Entra") && !error.contains("hush"), "{error}");
}

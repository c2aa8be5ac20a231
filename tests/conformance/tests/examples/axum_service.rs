//! The web service, as those who call it see it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use amr_emulator::{Chain, ClusterOptions, Emulator, Options};

use super::example;

struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(emulator: &Emulator) -> Self {
        let mut command = example("axum-service", emulator);
        command.env("LISTEN", "127.0.0.1:0").stdout(Stdio::piped());
        let mut child = command.spawn().expect("it was built: cargo build --package axum-service");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit(' ').next().expect("it is the last word").to_owned();
        Self { child, address }
    }

    /// The status and the body of the answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it can be set");
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\
            Content-Length: {len}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("it has a status"), body.to_owned())
    }

    /// Waits until the path is answered with this status.
    fn until(&self, path: &str, status: u16) {
        let start = Instant::now();
        while self.ask("GET", path, "").0 != status {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.ask("GET", path, ""));
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn axum_service_on_a_cluster_whose_nodes_are_replaced() {
    let cluster = Some(ClusterOptions::default());
    let options = Options { cluster, life: 5, chain: Chain::Ec, ..Options::default() };
    let emulator = Emulator::start(&options).expect("the emulator starts");
    let mut service = Service::start(&emulator);
    assert_eq!(service.ask("GET", "/livez", ""), (200, "alive\n".into()));
    service.until("/readyz", 200);
    let pages: Vec<_> = (0..20).map(|page| format!("page{page}")).collect();
    for round in 1..=2 {
        for page in &pages {
            let answer = service.ask("POST", &format!("/visits/{page}"), "");
            assert_eq!(answer, (200, format!("{round}\n")), "{page}");
        }
        if round == 1 {
            let cluster = emulator.cluster().expect("it was asked for");
            cluster.replace(cluster.primaries()[0].port).expect("it can be replaced");
        }
    }
    let (status, visits) = service.ask("GET", &format!("/visits/{},none", pages.join(",")), "");
    assert_eq!((status, visits.lines().count()), (200, 21));
    assert!(visits.starts_with("page0 2\n") && visits.ends_with("none 0\n"), "{visits}");
    assert_eq!(service.ask("GET", "/pages/a", "").0, 404);
    assert_eq!(service.ask("PUT", "/pages/a", "<html>").0, 204);
    assert_eq!(service.ask("GET", "/pages/a", ""), (200, "<html>".into()));
    let (_, metrics) = service.ask("GET", "/metrics", "");
    for line in ["redis_ready 1\n", "redis_token_request_failures_total 0\n"] {
        assert!(metrics.contains(line), "{metrics}");
    }

    let terminated = Command::new("kill").arg(service.child.id().to_string()).status();
    assert!(terminated.expect("there is kill").success());
    assert!(service.child.wait().expect("it ends").success());
    let counts = emulator.counts();
    assert_eq!((counts.refused, counts.expired), (0, 0), "{counts:?}");
}

#[test]
fn axum_service_is_alive_while_redis_is_down() {
    let emulator = Emulator::start(&Options::default()).expect("the emulator starts");
    emulator.down(Duration::from_secs(3));
    let service = Service::start(&emulator);
    assert_eq!(service.ask("GET", "/livez", "").0, 200);
    assert_eq!(service.ask("GET", "/readyz", "").0, 503);
    service.until("/readyz", 200);
    assert_eq!(service.ask("POST", "/visits/a", ""), (200, "1\n".into()));
}

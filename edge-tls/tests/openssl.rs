//! The server that Redis has: openssl's.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{NAME, Node, authority, key, leaf, root, run};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use rcgen::PKCS_ECDSA_P256_SHA256 as P256;
use redis_entraid_tls::pki_types::UnixTime;
use redis_entraid_tls::rand_core::OsRng;
use redis_entraid_tls::{Buffers, Config, Error, Halves, MaxFragmentLength, Tls, anchor};

/// `openssl s_server`, which hands out the files of a directory.
struct Server {
    process: Child,
    directory: PathBuf,
    port: u16,
    root: Node,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const FILE: usize = 100_000;

fn server(name: &str) -> Server {
    let root = root("root", key(&P256));
    let middle = root.issue(authority("middle"), key(&P256));
    let leaf = middle.issue(leaf(&[NAME]), key(&P256));
    let name = format!("redis-entraid-tls-openssl-{}-{name}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("leaf"), leaf.chain().first().unwrap()).unwrap();
    fs::write(directory.join("chain"), pem(&middle.der)).unwrap();
    fs::write(directory.join("key"), leaf.issuer.key().serialize_pem()).unwrap();
    fs::write(directory.join("file"), vec![b'x'; FILE]).unwrap();
    let mut process = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-WWW", "-key", "key"])
        .args(["-cert", "leaf", "-certform", "DER", "-cert_chain", "chain"])
        .current_dir(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let port = lines
        .find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.parse().ok());
    // What else it has to say must go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    Server { process, directory, port: port.unwrap(), root }
}

fn pem(der: &[u8]) -> String {
    let mut command = Command::new("openssl");
    let mut child = command
        .args(["x509", "-inform", "DER"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), der).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Gets the file with a buffer of this size, and says how many bytes came.
fn get(server: &Server, room: usize, length: Option<MaxFragmentLength>) -> Result<usize, Error> {
    run(async {}, async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let (reader, writer) = stream.split();
        let halves = Halves::new(FromTokio::new(reader), FromTokio::new(writer));
        let roots = [anchor(&server.root.der).unwrap()];
        let mut config = Config::new(NAME, &roots, UnixTime::now());
        config.max_fragment_length = length;
        let (mut records_in, mut records_out) = (vec![0; room], [0; 512]);
        let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
        let mut tls = Tls::connect(&halves, buffers, &config, &mut OsRng).await?;
        let (mut reader, mut writer) = tls.split();
        writer.write_all(b"GET /file HTTP/1.0\r\n\r\n").await?;
        writer.flush().await?;
        let mut received = 0;
        loop {
            match reader.read(&mut [0; 4096]).await? {
                0 => return Ok(received),
                len => received += len,
            }
        }
    })
}

#[test]
fn a_file_comes_whole() {
    let server = server("whole");
    let received = get(&server, redis_entraid_tls::RECORDS_IN, None).unwrap();
    assert!(received > FILE, "{received}");
}

#[test]
fn shorter_records_can_be_asked_for() {
    let server = server("short");
    let received = get(&server, 4608, Some(MaxFragmentLength::Bits12)).unwrap();
    assert!(received > FILE, "{received}");
    // It makes larger ones, if it is not asked.
    let refused = get(&server, 4608, None);
    assert!(matches!(refused, Err(Error::TooLong { buffer: 4608, .. })), "{refused:?}");
    // The certificates do not fit.
    let refused = get(&server, 4608, Some(MaxFragmentLength::Bits9));
    assert_eq!(refused, Err(Error::Fragmented));
}

//! A plain client: one connection, one command at a time or several in one write.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use amr_emulator::Emulator;
use redis_entraid_core::resp::{Arg, Framer, Value, ValueKind, encode};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Int(i64),
    List(Vec<Self>),
    Null,
}

impl Reply {
    fn of(value: Value<'_>) -> Self {
        match value.kind() {
            ValueKind::Error => {
                Self::Error(String::from_utf8(value.error().unwrap().text().to_vec()).unwrap())
            }
            ValueKind::Integer => Self::Int(value.int().unwrap()),
            ValueKind::Null => Self::Null,
            ValueKind::Array | ValueKind::Map | ValueKind::Push | ValueKind::Set => {
                Self::List(value.items().map(Self::of).collect())
            }
            _ => Self::Text(String::from_utf8_lossy(value.bytes().unwrap()).into_owned()),
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            other => panic!("{other:?} is no list"),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Error(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    /// Where a `MOVED` or an `ASK` leads.
    pub(crate) fn port(&self, code: &str) -> u16 {
        let Self::Error(text) = self else { panic!("{self:?} is no error") };
        assert!(text.starts_with(code), "{text}");
        text.rsplit_once(" 127.0.0.1:").unwrap().1.parse().unwrap()
    }
}

pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Dials `127.0.0.1`, verifies `localhost`, and logs in with RESP3.
    pub(crate) fn connect(emulator: &Emulator, port: u16) -> Result<Self> {
        let mut client = Self::dial(emulator, port, "localhost")?;
        let (user, token) = emulator.entra().login();
        client.call(&["HELLO", "3", "AUTH", &user, &token]).list();
        Ok(client)
    }

    /// The same with RESP2.
    pub(crate) fn resp2(emulator: &Emulator, port: u16) -> Self {
        let mut client = Self::dial(emulator, port, "localhost").unwrap();
        let (user, token) = emulator.entra().login();
        assert_eq!(client.call(&["AUTH", &user, &token]).text(), "OK");
        client
    }

    /// Dials and does TLS.
    pub(crate) fn dial(emulator: &Emulator, port: u16, name: &str) -> Result<Self> {
        let sock = TcpStream::connect(("127.0.0.1", port))?;
        sock.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(emulator.root_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let conn = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(conn, sock);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn call(&mut self, words: &[&str]) -> Reply {
        self.all(&[words]).remove(0)
    }

    /// Sends commands in one write.
    pub(crate) fn all(&mut self, commands: &[&[&str]]) -> Vec<Reply> {
        self.send(commands).unwrap();
        commands.iter().map(|_| self.receive().unwrap()).collect()
    }

    pub(crate) fn send(&mut self, commands: &[&[&str]]) -> Result<()> {
        let mut out = Vec::new();
        for words in commands {
            let words: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(word.as_bytes())).collect();
            encode(&words, &mut |piece| out.extend_from_slice(piece));
        }
        self.stream.write_all(&out)?;
        self.stream.flush()
    }

    pub(crate) fn receive(&mut self) -> Result<Reply> {
        let (mut framer, mut framed) = (Framer::new(), 0);
        loop {
            let next = framer.feed(&self.buffer[framed..]).unwrap();
            framed += next.used;
            if next.complete {
                let reply = Reply::of(Value::new(&self.buffer[..framed]).unwrap());
                self.buffer.drain(..framed);
                return Ok(reply);
            }
            let mut chunk = [0; 1 << 14];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend(&chunk[..read]);
        }
    }
}

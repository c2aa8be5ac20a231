//! One connection, and one value after the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redis_entraid_core::resp::{Arg, Framer, encode};

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        Ok(Self { stream, inbox: Vec::new() })
    }

    /// Its own end, as the server names it.
    pub(super) fn address(&self) -> String {
        self.stream.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// They can't be sent.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| error.to_string())
    }

    /// Reads a value.
    ///
    /// # Errors
    /// There is none.
    pub fn read(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let framed = Framer::new().feed(&self.inbox).map_err(|error| error.to_string())?;
            if framed.complete {
                return Ok(self.inbox.drain(..framed.used).collect());
            }
            let mut room = [0; 4096];
            let len = match self.stream.read(&mut room) {
                Ok(0) => return Err("the server has closed the connection".into()),
                Ok(len) => len,
                Err(_) => return Err("the server says nothing".into()),
            };
            self.inbox.extend_from_slice(&room[..len]);
        }
    }

    /// Sends a command and reads the answer, whatever it is.
    ///
    /// # Errors
    /// There is none.
    pub fn call(&mut self, words: &[&str]) -> Result<Vec<u8>, String> {
        let args: Vec<Arg<'_>> = words.iter().map(|word| Arg::from(*word)).collect();
        let mut bytes = Vec::new();
        encode(&args, &mut |piece| bytes.extend_from_slice(piece));
        self.send(&bytes)?;
        self.read()
    }

    /// Sends a command whose answer has to be `OK`.
    ///
    /// # Errors
    /// It is something else.
    pub fn ok(&mut self, words: &[&str]) -> Result<(), String> {
        let answer = self.call(words)?;
        match &*answer {
            b"+OK\r\n" => Ok(()),
            other => Err(format!("{words:?}: {}", other.escape_ascii())),
        }
    }
}

//! What endpoints do to the HTTP of the WASI host, in wasmtime. `cargo xtask test conformance` says where
//! the component is, and runs this.

#![cfg(feature = "host")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use conformance::guest::variable;

/// Has the component post a megabyte to somebody who serves one connection with `serve`.
fn posted(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let mut command = Command::new("timeout");
    command.arg("60").arg(variable("WASMTIME")).args(["run", "-S", "http"]);
    command.arg(variable("WASI_GUEST")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut guest = command.spawn().unwrap();
    writeln!(guest.stdin.as_ref().unwrap(), "post {url}").unwrap();
    let mut line = String::new();
    BufReader::new(guest.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(guest.stdin.take());
    guest.kill().unwrap();
    guest.wait().unwrap();
    server.join().unwrap();
    line.trim_end().to_owned()
}

const REFUSED: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";

/// Reads the head, and nothing of the body.
fn head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
}

#[test]
fn an_answer_that_comes_before_the_request_was_read_is_the_answer() {
    let silent = |mut stream: TcpStream| {
        head(&mut stream);
        stream.write_all(REFUSED.as_bytes()).unwrap();
        // It reads nothing more, but stays: the component gives up or goes.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        thread::sleep(Duration::from_secs(3));
    };
    assert_eq!(posted(silent), "413");
}

#[test]
fn a_request_that_is_read_to_its_end_is_answered() {
    let patient = |mut stream: TcpStream| {
        head(&mut stream);
        stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    };
    assert_eq!(posted(patient), "200");
}

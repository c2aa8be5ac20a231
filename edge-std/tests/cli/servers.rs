//! Servers that do one thing, which the emulator doesn't.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use amr_emulator::{Chain, Pki};
use redis_entraid::entraid_core::resp::{Framer, Value};
use rustls::{ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// Serves each connection in a thread, as long as the process lives. Answers with the port.
fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let port = listener.local_addr().expect("it is bound").port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    port
}

/// Answers the first bytes of each connection with these.
pub(crate) fn plain(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = answer.into();
    serve(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&answer);
        // It is read before the connection ends.
        let _ = stream.read(&mut [0; 4096]);
    })
}

/// A metadata endpoint that gives this document, and says that it is this time.
pub(crate) fn metadata(document: &str, date: &str) -> u16 {
    plain(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\nConnection: close\r\n\
        Content-Length: {}\r\n\r\n{document}",
        document.len()
    ))
}

/// A port whose queue is full: who connects gets no answer. It is so while the sockets live.
pub(crate) fn full() -> (u16, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&any.into()).expect("loopback has a port");
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let port = address.as_socket().expect("it is of IP").port();
    let mut sockets = vec![listener];
    // Linux keeps one more than it was told.
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("it can");
        let _ = socket.connect(&address);
        sockets.push(socket);
    }
    (port, sockets)
}

/// A Redis with the TLS of the emulator, that takes every login, and answers commands with what `reply` says,
/// and with `+OK` else.
pub(crate) fn redis(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> u16 {
    let tls = Pki::shared(Chain::default()).expect("keys can be made").redis;
    serve(move |stream| {
        let session = ServerConnection::new(tls.clone()).expect("it is configured");
        let mut stream = StreamOwned::new(session, stream);
        let mut input = Vec::new();
        loop {
            let mut used = 0;
            while let Ok(framed) = Framer::new().feed(&input[used..])
                && framed.complete
            {
                let command = Value::framed(&input[used..used + framed.used]);
                let words: Vec<&str> = command.items().filter_map(|word| word.str().ok()).collect();
                used += framed.used;
                let said = reply(&words.join(" ")).unwrap_or_else(|| match words.first() {
                    Some(&"HELLO") => "%1\r\n$5\r\nproto\r\n:3\r\n".into(),
                    _ => "+OK\r\n".into(),
                });
                if stream.write_all(said.as_bytes()).is_err() {
                    return;
                }
            }
            input.drain(..used);
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(len) => input.extend(&piece[..len]),
            }
        }
    })
}

/// The same with a cluster of these slots, and one key that is always what was written last.
pub(crate) fn cluster(slots: String) -> u16 {
    let last = std::sync::Mutex::new(String::from("_\r\n"));
    redis(move |command| {
        let mut last = last.lock().expect("nobody panics with it");
        let words: Vec<&str> = command.split(' ').collect();
        match words.as_slice() {
            ["CLUSTER", "SLOTS"] => Some(slots.clone()),
            ["CLIENT", "MAINT_NOTIFICATIONS", ..] => Some("-ERR unknown subcommand\r\n".into()),
            ["SET", _, value, ..] => {
                *last = format!("${}\r\n{value}\r\n", value.len());
                None
            }
            ["GET", _] => Some(last.clone()),
            ["DEL", _] => Some(":1\r\n".into()),
            _ => None,
        }
    })
}

//! What QEMU starts for each connection that a board makes: passes on what comes from the board to a
//! port of this machine, and back, until one of the two ends. (`nc` goes on when the server has
//! ended, so that the board never hears of it.)

use std::io::{Read, Write, stdin, stdout};
use std::net::{Shutdown, TcpStream};
use std::process::exit;

fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let Some(Ok(server)) = port.map(|port| TcpStream::connect(("127.0.0.1", port))) else {
        exit(1);
    };
    let _ = server.set_nodelay(true);
    let Ok(back) = server.try_clone() else { exit(1) };
    std::thread::spawn(move || {
        pass(stdin().lock(), &server);
        // What is on its way back may still arrive.
        let _ = server.shutdown(Shutdown::Write);
    });
    pass(&back, stdout().lock());
    exit(0);
}

/// Passes on what there is, at once.
fn pass(mut from: impl Read, mut to: impl Write) {
    let mut room = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut room) {
        let written = room.get(..len).map(|bytes| to.write_all(bytes).and_then(|()| to.flush()));
        if !matches!(written, Some(Ok(()))) {
            return;
        }
    }
}

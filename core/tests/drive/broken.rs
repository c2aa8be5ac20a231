//! Transports that fail.

use super::load::*;
use super::world::*;
use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::drive::*;
use redis_entraid_core::time::{Clock, Instant};
use redis_entraid_core::transport::{ErrorKind, ErrorType, Read, TransportFailure, Write};

/// A half that fails.
struct Fails(ErrorKind);

impl ErrorType for Fails {
    type Error = ErrorKind;
}

impl Read for Fails {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(self.0)
    }
}

impl Write for Fails {
    async fn write(&mut self, _: &[u8]) -> Result<usize, ErrorKind> {
        Err(self.0)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Err(self.0)
    }
}

#[test]
fn a_transport_that_fails_says_how_it_broke_in_reading_and_in_writing() {
    for (kind, how) in [
        (ErrorKind::ConnectionReset, TransportFailure::Reset),
        (ErrorKind::ConnectionAborted, TransportFailure::Truncated),
        (ErrorKind::ConnectionRefused, TransportFailure::Alert),
        (ErrorKind::InvalidData, TransportFailure::BadRecord),
        (ErrorKind::TimedOut, TransportFailure::TimedOut),
        (ErrorKind::Other, TransportFailure::Unknown),
    ] {
        let world = World::default();
        let tokens = tokens();
        put(&tokens, "token", world.now());
        let server = Server { window: 1000, ..Server::default() };
        for reads in [false, true] {
            let (mut load, mut connection) = (Load::default(), connection(256));
            let (reader, writer) = server.halves();
            let reason = world.run(Instant::from_millis(1000), async {
                match reads {
                    true => {
                        let halves = (Fails(kind), writer);
                        serve(&mut connection, halves, &world, &tokens, &mut load).await
                    }
                    false => {
                        let halves = (reader, Fails(kind));
                        serve(&mut connection, halves, &world, &tokens, &mut load).await
                    }
                }
            });
            assert_eq!(reason, Some(CloseReason::Broken(how)));
        }
    }
}

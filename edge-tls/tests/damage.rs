//! What happens to records on the way does not go unnoticed.

mod common;

use std::sync::Arc;

use common::{NAME, key, leaf, root, run};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorType, Read, ReadExactError};
use rcgen::PKCS_ECDSA_P256_SHA256 as P256;
use redis_entraid_tls::pki_types::UnixTime;
use redis_entraid_tls::rand_core::OsRng;
use redis_entraid_tls::{Buffers, Config, Error, Halves, RECORDS_IN, Tls, Violation, anchor};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

/// Lets a number of bytes through, and flips a bit of the next one.
struct Damage<T> {
    inner: T,
    after: usize,
}

impl<T: ErrorType> ErrorType for Damage<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Damage<T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, T::Error> {
        let len = self.inner.read(buf).await?;
        if let Some(byte) = buf[..len].get_mut(self.after) {
            *byte ^= 1;
        }
        self.after = self.after.wrapping_sub(len);
        Ok(len)
    }
}

#[test]
fn a_bit_that_was_flipped_on_the_way_is_an_error_wherever_it_is() {
    // The hello has 5 + 4 + 34 + 1 + 2 + 1 + 2 + 79 bytes or so; then come the encrypted records.
    let root = root("root", key(&P256));
    let leaf = root.issue(leaf(&[NAME]), key(&P256));
    for after in (0..900).step_by(7) {
        let (client, server) = tokio::io::duplex(16_384);
        let (reader, writer) = tokio::io::split(client);
        let reader = Damage { inner: FromTokio::new(reader), after };
        let writer = FromTokio::new(writer);
        let serve = async {
            let acceptor = TlsAcceptor::from(Arc::new(leaf.server()));
            if let Ok(mut stream) = acceptor.accept(server).await {
                let _ = stream.write_all(&[7; 2000]).await;
                let _ = stream.shutdown().await;
            }
        };
        let client = async {
            let halves = Halves::new(reader, writer);
            let roots = [anchor(&root.der).unwrap()];
            let config = Config::new(NAME, &roots, UnixTime::now());
            let (mut records_in, mut records_out) = ([0; RECORDS_IN], [0; 1024]);
            let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
            let mut tls = Tls::connect(&halves, buffers, &config, &mut OsRng).await?;
            let (mut reader, _) = tls.split();
            let mut all = [0; 2000];
            match reader.read_exact(&mut all).await {
                Ok(()) => Ok(()),
                Err(ReadExactError::Other(error)) => Err(error),
                Err(ReadExactError::UnexpectedEof) => panic!("{after}"),
            }
        };
        let result: Result<(), Error> = run(serve, client);
        assert!(
            matches!(
                result,
                Err(Error::Forged
                    | Error::Violation(
                        Violation::Record | Violation::InTheClear | Violation::Hello
                    )
                    | Error::Truncated
                    | Error::Refused(_)
                    | Error::TooLong { .. })
            ),
            "{after}: {result:?}"
        );
    }
}

//! The connection.

use core::fmt;

use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::{
    CryptoRngCore, FlushPolicy, TlsConfig, TlsConnection, TlsContext, TlsError, TlsReader,
    TlsWriter,
};
use rustls_pki_types::ServerName;

use crate::config::Config;
use crate::error::{Error, Violation};
use crate::guard::Guard;
use crate::halves::Halves;
use crate::inner::{Progress, Refusal};
use crate::shared::Shared;
use crate::suite::{Aes128GcmSha256, Aes256GcmSha384, Suite};
use crate::verifier::{Provider, Verifier};

/// The bytes of a buffer that holds any record that a server may send.
pub const RECORDS_IN: usize = 16_640;

/// The least bytes of a buffer for records to send: it has to hold the hello.
pub const MIN_RECORDS_OUT: usize = 512;

/// The bytes of the largest record to send, with what embedded-tls keeps free in its buffer.
const MAX_RECORDS_OUT: usize = (1 << 14) + 128;

/// Where records are decrypted and encrypted.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// For one incoming record: [`RECORDS_IN`] bytes, or 512 more than the maximum fragment length
    /// if the server heeds that.
    pub records_in: &'a mut [u8],
    /// For one outgoing record: [`MIN_RECORDS_OUT`] bytes or more. What is written is sent in
    /// records that are up to 133 bytes smaller than this.
    pub records_out: &'a mut [u8],
}

/// A connection to a server that has shown who it is.
pub struct Tls<'a, R: Read, W: Write, S: Suite = Aes128GcmSha256> {
    connection: TlsConnection<'a, Guard<'a, R, W>, S>,
    halves: &'a Halves<R, W>,
}

impl<'a, R: Read, W: Write> Tls<'a, R, W> {
    /// Connects with TLS_AES_128_GCM_SHA256.
    ///
    /// # Errors
    /// Nothing secret has been sent, and nothing may be.
    pub async fn connect(
        halves: &'a Halves<R, W>,
        buffers: Buffers<'a>,
        config: &Config<'_>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, Error> {
        Self::open(halves, buffers, config, rng).await
    }
}

impl<'a, R: Read, W: Write> Tls<'a, R, W, Aes256GcmSha384> {
    /// Connects with TLS_AES_256_GCM_SHA384, where policy demands it.
    ///
    /// # Errors
    /// Nothing secret has been sent, and nothing may be.
    pub async fn connect_aes256(
        halves: &'a Halves<R, W>,
        buffers: Buffers<'a>,
        config: &Config<'_>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, Error> {
        Self::open(halves, buffers, config, rng).await
    }
}

impl<'a, R: Read, W: Write, S: Suite> Tls<'a, R, W, S> {
    pub(crate) async fn open(
        halves: &'a Halves<R, W>,
        buffers: Buffers<'a>,
        config: &Config<'_>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, Error> {
        let shared = &halves.shared;
        let Buffers { records_in, records_out } = buffers;
        let name = ServerName::try_from(config.server_name).map_err(|_| Error::Name)?;
        if config.roots.is_empty() {
            return Err(Error::NoRoots);
        }
        if records_out.len() < MIN_RECORDS_OUT {
            return Err(Error::Buffer(MIN_RECORDS_OUT));
        }
        if shared.progress() != Progress::New {
            return Err(Error::Used);
        }
        shared.advance(Progress::Hello);
        halves.reader.try_borrow_mut().map_err(|_| Error::Used)?.set_room(records_in.len());
        let len = records_out.len().min(MAX_RECORDS_OUT);
        let records_out = records_out.get_mut(..len).unwrap_or_default();
        let mut connection = TlsConnection::new(Guard(halves), records_in, records_out);
        // What is flushed, and when, is for the caller to say.
        connection.set_flush_policy(FlushPolicy::Relaxed);
        let offer = offer(config, &name);
        let verifier = Verifier::<S>::new(&name, config, shared);
        let opened = connection.open(TlsContext::new(&offer, Provider { verifier, rng })).await;
        opened.map_err(|error| settle(shared, &error))?;
        // Whatever else was said, both steps must have been taken.
        if shared.progress() != Progress::Finished {
            return Err(shared.fail(Error::Unverified));
        }
        shared.check()?;
        shared.sent();
        shared.advance(Progress::Open);
        Ok(Self { connection, halves })
    }

    /// What reads and what writes. Both can be used at the same time.
    pub fn split(&mut self) -> (Reader<'_, R, W, S>, Writer<'_, R, W, S>) {
        let (reader, writer) = self.connection.split();
        (Reader { reader, halves: self.halves }, Writer { writer, halves: self.halves })
    }

    /// Sends what is left, and tells the server that it was all.
    ///
    /// # Errors
    /// The connection was dead already, or died of it.
    pub async fn close(self) -> Result<(), Error> {
        let shared = &self.halves.shared;
        match shared.before_sending() {
            Err(Error::Closed) => return Ok(()),
            result => result?,
        }
        let closed = self.connection.close().await;
        closed.map_err(|(_, error)| settle(shared, &error))?;
        shared.sent();
        // Neither half is left, but the halves of the transport are.
        shared.fail(Error::Closed);
        Ok(())
    }
}

/// What is offered to the server.
fn offer<'c>(config: &Config<'c>, name: &ServerName<'_>) -> TlsConfig<'c> {
    let mut offer = TlsConfig::new();
    // Addresses are not for SNI, nor is the dot at the end of a name (RFC 6066 section 3).
    if matches!(name, ServerName::DnsName(_)) {
        let name = config.server_name;
        offer = offer.with_server_name(name.strip_suffix('.').unwrap_or(name));
    }
    if let Some(length) = config.max_fragment_length {
        offer = offer.with_max_fragment_length(length);
    }
    if cfg!(feature = "rsa") { offer.enable_rsa_signatures() } else { offer }
}

/// Maps an error of embedded-tls. The guard and the verifier have better ones, if it was theirs.
fn settle(shared: &Shared, error: &TlsError) -> Error {
    let error = match error {
        TlsError::HandshakeAborted(_, alert) => Error::Refused(*alert as u8),
        _ if matches!(
            shared.progress(),
            Progress::New | Progress::Hello | Progress::Extensions
        ) =>
        {
            Error::Violation(Violation::Hello)
        }
        TlsError::CryptoError | TlsError::InvalidSignature => Error::Forged,
        error => Refusal::of(error).unwrap_or(Refusal::Message).into(),
    };
    shared.fail(error)
}

/// The half of a connection that reads.
///
/// A read that is given up loses nothing: the next one goes on where it was.
pub struct Reader<'a, R: Read, W: Write, S: Suite = Aes128GcmSha256> {
    reader: TlsReader<'a, Guard<'a, R, W>, S>,
    halves: &'a Halves<R, W>,
}

impl<R: Read, W: Write, S: Suite> ErrorType for Reader<'_, R, W, S> {
    type Error = Error;
}

impl<R: Read, W: Write, S: Suite> Read for Reader<'_, R, W, S> {
    /// Reads what has come; nothing, if the server has closed the connection.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let shared = &self.halves.shared;
        shared.check()?;
        if shared.has_ended() || buf.is_empty() {
            return Ok(0);
        }
        if let Ok(mut incoming) = self.halves.reader.try_borrow_mut() {
            incoming.begin();
        }
        match self.reader.read(buf).await {
            Ok(len) => Ok(len),
            Err(TlsError::ConnectionClosed) => {
                shared.end();
                Ok(0)
            }
            Err(error) => Err(settle(shared, &error)),
        }
    }
}

/// The half of a connection that writes.
///
/// What is written is sent when a record is full or when it is flushed. A write or a flush that is
/// given up while the transport takes a record ends the connection.
pub struct Writer<'a, R: Read, W: Write, S: Suite = Aes128GcmSha256> {
    writer: TlsWriter<'a, Guard<'a, R, W>, S>,
    halves: &'a Halves<R, W>,
}

impl<R: Read, W: Write, S: Suite> ErrorType for Writer<'_, R, W, S> {
    type Error = Error;
}

impl<R: Read, W: Write, S: Suite> Write for Writer<'_, R, W, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        let shared = &self.halves.shared;
        shared.before_sending()?;
        if buf.is_empty() {
            return Ok(0);
        }
        let written = self.writer.write(buf).await;
        let written = written.map_err(|error| settle(shared, &error))?;
        shared.sent();
        Ok(written)
    }

    /// Sends what has been written, and flushes the transport.
    async fn flush(&mut self) -> Result<(), Error> {
        let shared = &self.halves.shared;
        shared.before_sending()?;
        self.writer.flush().await.map_err(|error| settle(shared, &error))?;
        shared.sent();
        let flushed = Guard(self.halves).flush().await;
        flushed.or_else(|_| shared.check())
    }
}

impl<R: Read, W: Write, S: Suite> fmt::Debug for Tls<'_, R, W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("shared", &self.halves.shared).finish_non_exhaustive()
    }
}

impl<R: Read, W: Write, S: Suite> fmt::Debug for Reader<'_, R, W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("shared", &self.halves.shared).finish_non_exhaustive()
    }
}

impl<R: Read, W: Write, S: Suite> fmt::Debug for Writer<'_, R, W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("shared", &self.halves.shared).finish_non_exhaustive()
    }
}

//! HTTP, over `wasi:http`: the host does TLS.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use redis_entraid_core::drive::either;
use redis_entraid_core::http::{Method as Verb, Request, ResponseWriter, Route, Url};
use redis_entraid_core::source::{IoError, IoFailure, SourceIo};
use redis_entraid_core::storage::CapacityError;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;
use zeroize::{Zeroize, Zeroizing};

use crate::reactor::Reactor;

/// Sends requests through the host.
#[derive(Clone, Debug)]
pub struct Http(Reactor);

impl Http {
    /// A client whose futures wait at `reactor`.
    pub const fn new(reactor: Reactor) -> Self {
        Self(reactor)
    }

    /// Writes `body`, all of it unless the answer is there before.
    async fn write(
        &self,
        sink: OutgoingBody,
        mut body: &[u8],
        answer: &FutureIncomingResponse,
    ) -> Result<(), Error> {
        {
            let stream = sink
                .write()
                .map_err(|()| Error::Request("the host gave no request body to write"))?;
            while !body.is_empty() {
                match stream.check_write() {
                    Ok(0) if answer.subscribe().ready() => return Ok(()),
                    Ok(0) => {
                        let room = self.0.wait(stream.subscribe());
                        either(room, self.0.wait(answer.subscribe())).await;
                    }
                    Ok(room) => {
                        let len = body.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                        let (now, rest) = body.split_at(len);
                        match stream.write(now) {
                            Ok(()) => body = rest,
                            Err(_) => return Err(Error::Body),
                        }
                    }
                    Err(_) => return Err(Error::Body),
                }
            }
            // Hosts close the stream as soon as they have the last byte: then there is nothing to
            // flush.
            let _ = stream.flush();
        }
        OutgoingBody::finish(sink, None).map_err(Error::Host)
    }

    async fn read(
        &self,
        answer: &IncomingResponse,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Error> {
        response.status(answer.status());
        for (name, value) in answer.headers().entries() {
            response.header(&name, &value);
        }
        let body = answer.consume().map_err(|()| Error::Body)?;
        let stream = body.stream().map_err(|()| Error::Body)?;
        loop {
            match stream.read(4096) {
                Ok(bytes) if bytes.is_empty() => self.0.wait(stream.subscribe()).await,
                // It may be a part of a token.
                Ok(bytes) => {
                    response.body_chunk(&Zeroizing::new(bytes)).map_err(Error::TooLarge)?;
                }
                Err(StreamError::Closed) => return Ok(()),
                Err(StreamError::LastOperationFailed(_)) => return Err(Error::Body),
            }
        }
    }
}

impl SourceIo for Http {
    type Error = Error;

    async fn http(
        &mut self,
        request: &Request<'_>,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), Error> {
        let url = Url::parse(request.url).ok_or(Error::Request("the URL is invalid"))?;
        if !url.secure && request.route != Route::LinkLocal {
            return Err(Error::Request("only https is allowed over the network"));
        }
        let length = request.body.len().to_string();
        let mut lines: Vec<(String, Vec<u8>)> =
            request.headers.iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !request.body.is_empty() {
            // Else the host sends it in chunks, which not every endpoint takes.
            lines.push(("content-length".into(), length.into_bytes()));
        }
        let headers = Fields::from_list(&lines);
        // Among them may be the secret of an identity endpoint.
        lines.iter_mut().for_each(|(_, value)| value.zeroize());
        let headers = headers.map_err(|_| Error::Request("a header of the request is invalid"))?;
        let outgoing = OutgoingRequest::new(headers);
        let method = match request.method {
            Verb::Post => Method::Post,
            _ => Method::Get,
        };
        let scheme = if url.secure { Scheme::Https } else { Scheme::Http };
        let set = outgoing.set_method(&method).is_ok()
            && outgoing.set_scheme(Some(&scheme)).is_ok()
            && outgoing.set_authority(Some(url.authority)).is_ok()
            && outgoing.set_path_with_query(Some(url.path)).is_ok();
        if !set {
            return Err(Error::Request("the URL is invalid"));
        }
        let body = outgoing
            .body()
            .map_err(|()| Error::Request("the host gave no request body to write"))?;
        let answer = handle(outgoing, None).map_err(Error::Host)?;
        // An endpoint may answer before it has read the request, and then not read it: what it says is
        // worth more than that.
        let written = self.write(body, request.body, &answer).await;
        self.0.wait(answer.subscribe()).await;
        match answer.get() {
            Some(Ok(Ok(answer))) => self.read(&answer, response).await,
            Some(Ok(Err(code))) => Err(written.err().unwrap_or(Error::Host(code))),
            _ => Err(Error::Body),
        }
    }
}

/// Why there is no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The host says why.
    Host(ErrorCode),
    /// The connection broke in the middle of a body.
    Body,
    /// The request can't be sent.
    Request(&'static str),
    /// The response is too large.
    TooLarge(CapacityError),
    /// This host has neither files nor keys. Implement [`SourceIo`] yourself around this, if yours has.
    Unsupported,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(ErrorCode::HttpRequestDenied) => f.write_str(
                "this component is not allowed to send requests there: add the endpoint to Spin's allowed_outbound_hosts",
            ),
            Self::Host(code) => f.write_str(reason(code)),
            Self::Body => f.write_str("the response is incomplete"),
            Self::Request(what) => f.write_str(what),
            Self::TooLarge(error) => error.fmt(f),
            Self::Unsupported => IoFailure::Unsupported.fmt(f),
        }
    }
}

/// What a host says, in words. To name each of its forty codes would cost more than all else here.
const fn reason(code: &ErrorCode) -> &'static str {
    use ErrorCode::*;
    match code {
        DnsTimeout | DnsError(_) => "DNS lookup of the endpoint failed",
        DestinationNotFound
        | DestinationUnavailable
        | DestinationIpProhibited
        | DestinationIpUnroutable => "the endpoint can't be reached from here",
        ConnectionRefused => "connection refused by the endpoint",
        ConnectionTimeout
        | ConnectionReadTimeout
        | ConnectionWriteTimeout
        | HttpResponseTimeout => "the endpoint timed out",
        ConnectionTerminated | HttpResponseIncomplete => "the endpoint closed the connection early",
        TlsProtocolError | TlsAlertReceived(_) => "TLS with the endpoint failed",
        TlsCertificateError => {
            "the endpoint's certificate is not trusted: the roots are the host's, not this component's"
        }
        ConfigurationError => "the host is not set up to send requests",
        InternalError(_) => "the host failed",
        _ => "the host rejected the request or the response",
    }
}

impl core::error::Error for Error {}

impl IoError for Error {
    fn failure(&self) -> IoFailure {
        use ErrorCode::*;
        match self {
            Self::Host(TlsProtocolError | TlsCertificateError | TlsAlertReceived(_)) => {
                IoFailure::Tls
            }
            Self::Host(
                HttpRequestDenied
                | HttpRequestUriInvalid
                | HttpRequestMethodInvalid
                | ConfigurationError
                | DestinationIpProhibited,
            ) => IoFailure::Request,
            Self::Host(
                DnsTimeout
                | DnsError(_)
                | DestinationNotFound
                | DestinationUnavailable
                | DestinationIpUnroutable
                | ConnectionRefused
                | ConnectionTimeout,
            ) => IoFailure::Connect,
            Self::Host(_) | Self::Body => IoFailure::Io,
            Self::Request(_) => IoFailure::Request,
            Self::TooLarge(error) => IoFailure::TooLarge(*error),
            Self::Unsupported => IoFailure::Unsupported,
        }
    }

    fn unsupported() -> Self {
        Self::Unsupported
    }
}

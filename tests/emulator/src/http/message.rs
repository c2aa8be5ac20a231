//! Requests as they come, and answers as they go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, Version};

use crate::capture::{Captured, Fields};

/// Takes a request in.
pub(crate) async fn taken(request: hyper::Request<Incoming>) -> Result<Captured, Error> {
    let (head, body) = request.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let body = body.collect().await.map_err(Error::other)?.to_bytes();
    Ok(Captured {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: fields(head.uri.query().unwrap_or_default()),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Header lines beside the type of the body.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A document.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, body.to_string())
    }

    /// A body whose type shows in its first byte.
    pub(crate) fn new(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, String::new())
    }

    fn content_type(&self) -> &'static str {
        match self.body.as_bytes().first() {
            Some(b'<') => "text/html; charset=utf-8",
            // A byte order mark comes before a document, too.
            Some(b'{' | b'[' | 0xEF) => "application/json; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// Answer it.
    Answer(Answer),
    /// Let it wait, and then answer.
    Later(Duration, Answer),
    /// Let it wait for ever.
    Hang,
    /// Cut the connection.
    Cut,
    /// Send so many bytes of the body, whose length is not said, and cut.
    CutAfter(usize, Answer),
    /// Send the body in chunks of so many bytes.
    Chunked(usize, Answer),
    /// Say all in the status line, as HTTP/1.0.
    Reason(u16, String),
}

/// Does what is to be done.
pub(crate) async fn react(reaction: Reaction) -> Result<Response<Content>, Error> {
    match reaction {
        Reaction::Answer(answer) => Ok(response(answer)),
        Reaction::Later(wait, answer) => {
            tokio::time::sleep(wait).await;
            Ok(response(answer))
        }
        Reaction::CutAfter(bytes, mut answer) => {
            answer.body.truncate(bytes);
            let mut response = response(answer);
            // Who speaks HTTP/1.0 ends a body with the connection.
            *response.version_mut() = Version::HTTP_10;
            response.body_mut().length = None;
            Ok(response)
        }
        Reaction::Chunked(bytes, answer) => {
            let mut response = response(answer);
            response.body_mut().chunk(bytes);
            Ok(response)
        }
        Reaction::Reason(status, reason) => {
            let mut response = response(Answer::new(status, String::new()));
            *response.version_mut() = Version::HTTP_10;
            response.headers_mut().remove(CONTENT_TYPE);
            response.body_mut().length = None;
            let reason = ReasonPhrase::try_from(reason).map_err(Error::other)?;
            response.extensions_mut().insert(reason);
            Ok(response)
        }
        Reaction::Hang => std::future::pending().await,
        Reaction::Cut => Err(Error::other("cut on command")),
    }
}

fn response(answer: Answer) -> Response<Content> {
    let content_type = HeaderValue::from_static(answer.content_type());
    let mut response = Response::new(Content::from(answer.body));
    // A fault may ask for a status that HTTP doesn't have: then it is our own fault.
    *response.status_mut() =
        answer.status.try_into().unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(name, value);
        }
    }
    response
}

/// A body: one piece, or several.
pub(crate) struct Content {
    pieces: VecDeque<Bytes>,
    /// What the head says of its length.
    length: Option<u64>,
}

impl From<String> for Content {
    fn from(body: String) -> Self {
        let length = Some(body.len() as u64);
        let body = Bytes::from(body);
        Self { pieces: Some(body).filter(|body| !body.is_empty()).into_iter().collect(), length }
    }
}

impl Content {
    /// Cuts it into pieces of so many bytes, without a length: each is a chunk then.
    fn chunk(&mut self, bytes: usize) {
        let cut = |piece: Bytes| {
            let starts = (0..piece.len()).step_by(bytes.max(1));
            starts
                .map(|at| piece.slice(at..piece.len().min(at.saturating_add(bytes.max(1)))))
                .collect::<Vec<_>>()
        };
        self.pieces = std::mem::take(&mut self.pieces).into_iter().flat_map(cut).collect();
        self.length = None;
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.length.is_some() && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The fields of a form or a query, decoded.
pub(crate) fn fields(text: &str) -> Fields {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

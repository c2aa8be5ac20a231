//! Reading a response.

use core::ops::Range;

use embedded_io_async::Read;
use httparse::Status;
use redis_entraid_core::http::ResponseWriter;

use super::ResponseError;

/// How a body ends.
#[derive(Clone, Copy)]
enum Length {
    /// After so many bytes.
    Known(usize),
    /// It comes in chunks.
    Chunked,
    /// With the connection.
    UntilClosed,
}

/// A response, as it comes.
pub(super) struct Answer<'a, R> {
    reader: R,
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a, R: Read> Answer<'a, R> {
    pub(super) const fn new(reader: R, buffer: &'a mut [u8]) -> Self {
        Self { reader, buffer, start: 0, end: 0 }
    }

    /// Reads all of it, to `response`.
    pub(super) async fn read(
        mut self,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), ResponseError> {
        let length = self.head(response).await?;
        match length {
            Length::Known(length) => self.pass(length, response).await,
            Length::Chunked => self.chunks(response).await,
            Length::UntilClosed => loop {
                self.give(usize::MAX, response)?;
                if !self.fill().await? {
                    return Ok(());
                }
            },
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads more. Says whether there was more.
    async fn fill(&mut self) -> Result<bool, ResponseError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Err(ResponseError::Head);
        }
        let len = self.reader.read(room).await.map_err(|_| ResponseError::Io)?;
        self.end += len;
        Ok(len > 0)
    }

    async fn more(&mut self) -> Result<(), ResponseError> {
        if self.fill().await? { Ok(()) } else { Err(ResponseError::Io) }
    }

    /// Reads the head, line by line: Entra's has more than a kilobyte, of which little matters.
    async fn head(&mut self, response: &mut ResponseWriter<'_>) -> Result<Length, ResponseError> {
        loop {
            let (line, _) = self.line().await?;
            let status =
                status(self.buffer.get(line).unwrap_or_default()).ok_or(ResponseError::NoHttp)?;
            let mut length = match status {
                204 | 304 => Length::Known(0),
                _ => Length::UntilClosed,
            };
            // What has 1 as its first digit comes before the response itself.
            let is_interim = (100..200).contains(&status);
            if !is_interim {
                response.status(status);
            }
            loop {
                let (line, whole) = self.line().await?;
                let line = self.buffer.get(line).unwrap_or_default();
                if line.is_empty() {
                    break;
                }
                if !is_interim {
                    header(line, whole, &mut length, response)?;
                }
            }
            if !is_interim {
                return Ok(length);
            }
        }
    }

    /// Takes the next line of the head, and says whether it is whole: of one that is larger than the
    /// buffer, only the beginning is there.
    async fn line(&mut self) -> Result<(Range<usize>, bool), ResponseError> {
        let mut seen = 0;
        loop {
            let unseen = self.rest().get(seen..).unwrap_or_default();
            if let Some(end) = unseen.iter().position(|&byte| byte == b'\n') {
                let line = self.start..self.start + seen + end;
                self.start = line.end + 1;
                let text = self.buffer.get(line.clone()).unwrap_or_default();
                let end = line.end - usize::from(text.ends_with(b"\r"));
                return Ok((line.start..end, true));
            }
            seen = self.rest().len();
            if seen == self.buffer.len() {
                return self.long_line().await.map(|line| (line, false));
            }
            self.more().await?;
        }
    }

    /// Skips what is left of a line that fills the buffer, but for its beginning.
    async fn long_line(&mut self) -> Result<Range<usize>, ResponseError> {
        let kept = self.buffer.len() / 2;
        loop {
            self.end = kept;
            let room = self.buffer.get_mut(kept..).unwrap_or_default();
            if room.is_empty() {
                return Err(ResponseError::Head);
            }
            let len = self.reader.read(room).await.map_err(|_| ResponseError::Io)?;
            if len == 0 {
                return Err(ResponseError::Io);
            }
            self.end += len;
            let came = self.buffer.get(kept..self.end).unwrap_or_default();
            if let Some(end) = came.iter().position(|&byte| byte == b'\n') {
                self.start = kept + end + 1;
                return Ok(0..kept);
            }
        }
    }

    /// Gives what is there to `response`, at most `most` bytes. Says how many.
    fn give(
        &mut self,
        most: usize,
        response: &mut ResponseWriter<'_>,
    ) -> Result<usize, ResponseError> {
        let rest = self.rest();
        let part = rest.get(..most).unwrap_or(rest);
        response.body_chunk(part).map_err(ResponseError::TooLarge)?;
        let len = part.len();
        self.start += len;
        Ok(len)
    }

    /// Passes `length` bytes on.
    async fn pass(
        &mut self,
        mut length: usize,
        response: &mut ResponseWriter<'_>,
    ) -> Result<(), ResponseError> {
        loop {
            length -= self.give(length, response)?;
            if length == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self, response: &mut ResponseWriter<'_>) -> Result<(), ResponseError> {
        loop {
            let size = match httparse::parse_chunk_size(self.rest()) {
                Ok(Status::Complete((len, size))) => {
                    self.start += len;
                    usize::try_from(size).map_err(|_| ResponseError::NoHttp)?
                }
                Ok(Status::Partial) => {
                    self.more().await?;
                    continue;
                }
                Err(_) => return Err(ResponseError::NoHttp),
            };
            // What may follow the last one is of no interest.
            if size == 0 {
                return Ok(());
            }
            self.pass(size, response).await?;
            while self.rest().len() < 2 {
                self.more().await?;
            }
            if !self.rest().starts_with(b"\r\n") {
                return Err(ResponseError::NoHttp);
            }
            self.start += 2;
        }
    }
}

/// The status code of a status line. The reason phrase is ignored.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = rest.split_at_checked(3)?;
    if !matches!(rest, [] | [b' ', ..]) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok().filter(|status| *status >= 100)
}

/// Takes a header line.
fn header(
    line: &[u8],
    whole: bool,
    length: &mut Length,
    response: &mut ResponseWriter<'_>,
) -> Result<(), ResponseError> {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        // Of a long one, the name may be cut; nothing that matters has such a name.
        return if whole { Err(ResponseError::NoHttp) } else { Ok(()) };
    };
    let (name, value) = line.split_at(colon);
    let name = core::str::from_utf8(name).map_err(|_| ResponseError::NoHttp)?;
    if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(ResponseError::NoHttp);
    }
    if !whole {
        return Ok(());
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    response.header(name, value);
    if name.eq_ignore_ascii_case("transfer-encoding") {
        // No other encoding was asked for.
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ResponseError::NoHttp);
        }
        *length = Length::Chunked;
    } else if name.eq_ignore_ascii_case("content-length") {
        let known = core::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        let known = known.ok_or(ResponseError::NoHttp)?;
        // Chunks count, if there are both (RFC 9112 section 6.3).
        if !matches!(length, Length::Chunked) {
            *length = Length::Known(known);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::string::String;

    use embedded_io_async::ErrorType;

    use super::*;

    /// Bytes that come a few at a time, and then the end.
    struct Tape<'t> {
        bytes: &'t [u8],
        step: usize,
    }

    impl ErrorType for Tape<'_> {
        type Error = Infallible;
    }

    impl Read for Tape<'_> {
        async fn read(&mut self, room: &mut [u8]) -> Result<usize, Infallible> {
            let len = self.step.min(room.len()).min(self.bytes.len());
            let (now, rest) = self.bytes.split_at(len);
            room[..len].copy_from_slice(now);
            self.bytes = rest;
            Ok(len)
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("a tape needs no waiting"),
        }
    }

    fn read(text: &str, head: usize) -> Result<(u16, String), ResponseError> {
        let mut results = [1, 2, 7, 1000].map(|step| {
            let (mut buffer, mut memory) = (std::vec![0; head], [0; 32]);
            let mut response = ResponseWriter::new(&mut memory);
            let tape = Tape { bytes: text.as_bytes(), step };
            let answer = Answer::new(tape, &mut buffer);
            now(answer.read(&mut response))?;
            let response = response.finish();
            Ok((response.status, String::from_utf8(response.body.to_vec()).unwrap()))
        });
        // How large it would have been is not known at once.
        let same = |a: &Result<_, ResponseError>, b: &_| match (a, b) {
            (Err(ResponseError::TooLarge(_)), Err(ResponseError::TooLarge(_))) => true,
            (a, b) => a == b,
        };
        assert!(results.windows(2).all(|pair| same(&pair[0], &pair[1])), "{results:?}");
        core::mem::replace(&mut results[0], Err(ResponseError::Io))
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        let ok = |status, body: &str| Ok((status, String::from(body)));
        for (text, result) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", ok(200, "hello")),
            ("HTTP/1.1 200 OK\r\n\r\nhello", ok(200, "hello")),
            ("HTTP/1.0 500 No\r\ncontent-length: 0\r\n\r\n", ok(500, "")),
            ("HTTP/1.1 204 None\r\n\r\n", ok(204, "")),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                ok(200, "hello"),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}",
                ok(400, "{}"),
            ),
        ] {
            assert_eq!(read(text, 128), result, "{text}");
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_none() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello",
        ] {
            assert_eq!(read(text, 128), Err(ResponseError::Io), "{text}");
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for text in [
            "-ERR wrong port\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n name: folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert_eq!(read(text, 128), Err(ResponseError::NoHttp), "{text}");
        }
    }

    #[test]
    fn no_line_of_a_head_is_too_long_and_no_head_has_too_many() {
        let cookie = std::format!("Set-Cookie: {}\r\n", "c".repeat(6000));
        let many = "X-Line: of no interest\r\n".repeat(100);
        let head = std::format!("HTTP/1.1 200 {0}\r\n{cookie}{many}", "reason ".repeat(50));
        let text = std::format!("{head}Content-Length: 5\r\n{cookie}\r\nhello");
        assert_eq!(read(&text, 64), Ok((200, String::from("hello"))));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let body =
            "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n0123456789012345678901234567890123456789";
        assert!(matches!(read(body, 128), Err(ResponseError::TooLarge(_))));
    }
}

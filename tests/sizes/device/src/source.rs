//! Tokens of a managed identity: its request, and the responses, with HTTP itself left out.

use core::hint::black_box;

use redis_entraid_core::event::Event;
use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::manager::Action;
use redis_entraid_core::source::{
    Input, ManagedIdentity, Selector, Source, SourceError, Start, Step,
};
use redis_entraid_core::time::Instant;

use crate::tokens::{Manager, RESPONSES};

/// Bytes of the request.
pub const REQUEST: usize = 256;

/// Bytes of the response.
pub const RESPONSE: usize = 512;

/// Where the request and the response are written to.
pub struct Buffers(pub [u8; REQUEST], pub [u8; RESPONSE]);

/// Takes a token in from the metadata service, which has to be asked twice.
pub fn take(buffers: &mut Buffers, manager: &mut Manager, now: Instant, number: usize) -> bool {
    let text = RESPONSES.get(black_box(number)).map_or("", |text| text);
    let busy = ask(manager, now, (429, r#"{"error":"busy"}"#), buffers);
    let then = manager.next_deadline();
    let waits = matches!(busy, Some(Event::FetchFailed { .. })) && then > now;
    let fetched = ask(manager, then, (200, text), buffers);
    waits && matches!(fetched, Some(Event::Refreshed { .. }))
}

/// One request, and what the manager makes of its answer.
fn ask(
    manager: &mut Manager,
    now: Instant,
    (status, body): (u16, &str),
    Buffers(request, response): &mut Buffers,
) -> Option<Event> {
    let Action::Fetch { request: asked, deadline, .. } = manager.poll(now) else { return None };
    let mut source = ManagedIdentity::imds(Selector::<&str>::System);
    let answer = (|| {
        let start = Input::Start(Start::new(deadline));
        let Step::Http(http) = source.next(start, request)? else { return Ok(None) };
        let http = http.read(request, deadline)?;
        let metadata = http.headers.iter().any(|line| line == ("Metadata", "true"));
        if !metadata || !http.url.ends_with("&resource=https%3A%2F%2Fredis.azure.com") {
            return Ok(None);
        }
        let mut writer = ResponseWriter::new(response);
        writer.status(black_box(status));
        writer.header("Date", b"Sat, 21 Nov 2026 22:26:40 GMT");
        writer.header("Retry-After", b"7");
        writer.body_chunk(black_box(body).as_bytes())?;
        let Step::Done(issued) = source.next(Input::Response(writer.finish()), request)? else {
            return Ok(None);
        };
        Ok::<_, SourceError>(Some(issued))
    })();
    let token = match answer {
        Ok(None) => return None,
        Ok(Some(issued)) => issued.token(response).map_err(SourceError::Token),
        Err(error) => Err(error),
    };
    Some(manager.answered(now, asked, token))
}

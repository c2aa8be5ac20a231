//! What a device uses of the core, built without std and without an allocator.
//!
//! If anything pulled in `std`, there would be two panic handlers; if anything needed `alloc`,
//! there would be no allocator. The compiler refuses both.
#![no_std]

use core::panic::PanicInfo;

use redis_entraid_core::args;
use redis_entraid_core::connection::{CloseReason, Config, Connection, Output, Pending};
use redis_entraid_core::http::ResponseWriter;
use redis_entraid_core::manager::{Action, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::source::{
    Input, ManagedIdentity, Selector, Source, SourceError, Start, Step,
};
use redis_entraid_core::time::{Instant, UnixTime};

#[cfg(feature = "tls-p256")]
mod tls;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

// What a board brings.
unsafe extern "C" {
    safe fn board_millis() -> u64;
    safe fn board_http(url: *const u8, url_len: usize, body: *mut u8, room: usize) -> usize;
    safe fn board_send(bytes: *const u8, len: usize) -> usize;
    safe fn board_receive(bytes: *mut u8, room: usize) -> usize;
}

/// Gets a token from the metadata service, logs in, and counts, for as long as the link lives.
#[unsafe(no_mangle)]
pub extern "C" fn gateway(unix_time: u64) -> u32 {
    let now = || Instant::from_millis(board_millis());
    let mut manager =
        TokenManager::new(RefreshPolicy::default(), Jitter::new(board_millis()), [[0; 2560]; 2]);
    manager.unix_time(now(), UnixTime(unix_time));
    let mut source = ManagedIdentity::imds(Selector::<&str>::System);
    let (mut request, mut body) = ([0; 256], [0; 4096]);
    let ring = [Pending::default(); 4];
    let mut connection = Connection::new(Config::new(board_millis()), [0; 512], [0; 512], ring);
    let mut count = 0;
    loop {
        if let Action::Fetch { request: asked, deadline, .. } = manager.poll(now()) {
            match fetch(&mut source, deadline, &mut request, &mut body) {
                Ok(issued) => match issued.token(&body) {
                    Ok(token) => drop(manager.token(now(), asked, &token)),
                    Err(error) => manager.failed(now(), asked, SourceError::Token(error)),
                },
                Err(error) => manager.failed(now(), asked, error),
            }
        }
        connection.update(now(), &mut manager);
        if connection.is_ready() {
            let _ = connection.submit(now(), 1, args!["INCR", "readings"]);
        }
        let bytes = connection.transmit();
        let sent = board_send(bytes.as_ptr(), bytes.len());
        connection.sent(sent);
        let space = connection.receive_space();
        let received = board_receive(space.as_mut_ptr(), space.len());
        match received {
            0 => connection.closed(CloseReason::ByServer),
            len => connection.received(now(), len),
        }
        while let Some(output) = connection.next(now()) {
            match output {
                Output::Reply { reply: Ok(value), .. } => {
                    count = value.int().unwrap_or_default() as u32;
                }
                Output::Event(_) => return count,
                _ => {}
            }
        }
    }
}

fn fetch(
    source: &mut impl Source,
    deadline: Instant,
    request: &mut [u8],
    body: &mut [u8],
) -> Result<redis_entraid_core::source::TokenResponse, SourceError> {
    let Step::Http(http) = source.next(Input::Start(Start::new(deadline)), request)? else {
        return Err(SourceError::NoToken);
    };
    let mut response = [0; 4096];
    let url = http.url.of(request);
    let len = board_http(url.as_ptr(), url.len(), response.as_mut_ptr(), response.len());
    let mut writer = ResponseWriter::new(body);
    writer.status(200);
    writer.body_chunk(response.get(..len).unwrap_or_default())?;
    match source.next(Input::Response(writer.finish()), request)? {
        Step::Done(issued) => Ok(issued),
        _ => Err(SourceError::NoToken),
    }
}

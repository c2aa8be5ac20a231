//! A transport that always has something to read.

use super::*;
use core::cell::{Cell, RefCell};
use embedded_io_async::{Read, Write};
use redis_entraid_core::connection::Output;
use redis_entraid_core::resp::{Framer, Value};
use redis_entraid_core::transport::ErrorType;
use std::string::String;

/// A server that publishes without a pause, once somebody is logged in. Each message takes a
/// millisecond.
struct Flood<'w> {
    world: &'w World,
    left: Cell<u32>,
    replies: RefCell<VecDeque<u8>>,
    /// Who has logged in, and how many messages were still to come then.
    logins: RefCell<Vec<(String, u32)>>,
}

const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n";

struct Half<'f, 'w>(&'f Flood<'w>);

impl ErrorType for Half<'_, '_> {
    type Error = Never;
}

impl Read for Half<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Never> {
        poll_fn(|_| {
            let Flood { world, left, replies, logins } = self.0;
            let mut replies = replies.borrow_mut();
            if replies.is_empty() {
                if logins.borrow().is_empty() {
                    return Poll::Pending;
                }
                let Some(less) = left.get().checked_sub(1) else { return Poll::Ready(Ok(0)) };
                left.set(less);
                world.now.set(world.now.get().plus(Duration::from_millis(1)));
                replies.extend(MESSAGE);
            }
            let len = buffer.len().min(replies.len());
            buffer.iter_mut().zip(replies.drain(..len)).for_each(|(to, from)| *to = from);
            Poll::Ready(Ok(len))
        })
        .await
    }
}

impl Write for Half<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Never> {
        let Flood { left, replies, logins, .. } = self.0;
        // What is written here is one command.
        assert!(Framer::new().feed(bytes).unwrap().complete);
        let token = Value::new(bytes).unwrap().items().last().unwrap();
        logins.borrow_mut().push((token.str().unwrap().into(), left.get()));
        replies.borrow_mut().extend(match logins.borrow().len() {
            1 => &b"%1\r\n+proto\r\n:3\r\n"[..],
            _ => b"+OK\r\n",
        });
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

/// Counts messages that nobody has read.
struct Unread<'u>(&'u Cell<u32>);

impl Handler for Unread<'_> {
    fn poll_commands(&mut self, _: &mut Context<'_>, _: &mut dyn Submit) {}

    fn output(&mut self, output: Output<'_>) {
        self.0.set(self.0.get() + u32::from(matches!(output, Output::Push(_))));
    }
}

#[test]
fn a_transport_that_is_always_ready_leaves_others_their_turn() {
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let flood = Flood {
        world: &world,
        left: Cell::new(200_000),
        replies: RefCell::default(),
        logins: RefCell::default(),
    };
    let (unread, mut read, mut most) = (Cell::new(0), 0, 0);
    let mut handler = Unread(&unread);
    let mut connection = connection(256);
    let halves = (Half(&flood), Half(&flood));
    let all = async {
        let serve = serve(&mut connection, halves, &world, &tokens, &mut handler);
        let mut serve = pin!(serve);
        let mut newer = false;
        poll_fn(|cx| {
            let ended = serve.as_mut().poll(cx);
            // The turn of the others: a reader, and a source with another token.
            most = most.max(unread.get());
            read += unread.take();
            if read > 1000 && !core::mem::replace(&mut newer, true) {
                put(&tokens, "newer", world.now());
            }
            ended
        })
        .await
    };
    let reason = world.run(Instant::from_millis(1_000_000), all);
    assert_eq!(reason, Some(CloseReason::ByServer));
    assert_eq!(read, 200_000);
    assert!(most < 100, "{most} messages came before anybody could read one");
    let [(_, 200_000), (newer, left)] = &flood.logins.borrow()[..] else {
        panic!("{:?}", flood.logins)
    };
    assert!(newer == "newer" && *left > 0, "the login waited for the end");
}

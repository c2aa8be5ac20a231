//! What a connection whose buffers grow keeps, while a read is under way for most of the time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(dead_code)] // The world has more than this needs.

#[path = "../../core/tests/drive/load.rs"]
mod load;
#[path = "../../core/tests/drive/world.rs"]
mod world;

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::format;

use core::cell::{Cell, RefCell};
use core::task::Waker;
use embedded_io_async::{Read, Write};
use load::*;
use redis_entraid_client::Growable;
use redis_entraid_core::args;
use redis_entraid_core::connection::{Config, Connection, Output, Pending};
use redis_entraid_core::drive::*;
use redis_entraid_core::resp::Framer;
use redis_entraid_core::storage::Storage;
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::transport::ErrorType;
use std::rc::Rc;
use world::*;

/// Memory that shows how much it is.
struct Shown(Growable<u8>, Rc<Cell<usize>>);

impl Storage<u8> for Shown {
    const GROWS: bool = true;

    fn room(&self) -> &[u8] {
        self.0.room()
    }

    fn room_mut(&mut self) -> &mut [u8] {
        self.0.room_mut()
    }

    fn reserve(&mut self, len: usize) -> bool {
        let there = self.0.reserve(len);
        self.1.set(self.0.room().len());
        there
    }

    fn shrink(&mut self, len: usize) {
        self.0.shrink(len);
        self.1.set(self.0.room().len());
    }
}

/// Says `hello` to the first command, 100,000 bytes to the second one, and little to the others.
#[derive(Default)]
struct Talker {
    input: RefCell<Vec<u8>>,
    output: RefCell<VecDeque<u8>>,
    commands: Cell<u32>,
    reader: Cell<Option<Waker>>,
}

struct TalkerHalf<'t>(&'t Talker);

impl ErrorType for TalkerHalf<'_> {
    type Error = Never;
}

impl Read for TalkerHalf<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Never> {
        poll_fn(|cx| {
            let mut output = self.0.output.borrow_mut();
            let len = buffer.len().min(output.len());
            buffer.iter_mut().zip(output.drain(..len)).for_each(|(to, from)| *to = from);
            if len > 0 {
                return Poll::Ready(Ok(len));
            }
            self.0.reader.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Write for TalkerHalf<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Never> {
        let Talker { input, output, commands, reader } = self.0;
        let mut input = input.borrow_mut();
        input.extend_from_slice(bytes);
        while let Ok(framed) = Framer::new().feed(&input)
            && framed.complete
        {
            input.drain(..framed.used);
            commands.set(commands.get() + 1);
            output.borrow_mut().extend(match commands.get() {
                1 => b"%1\r\n+proto\r\n:3\r\n".to_vec(),
                2 => format!("$100000\r\n{}\r\n", "x".repeat(100_000)).into_bytes(),
                _ => b"+OK\r\n".to_vec(),
            });
            wake(reader);
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Never> {
        Ok(())
    }
}

/// Sends one command, of 100,000 bytes.
struct One(bool);

impl Handler for One {
    fn poll_commands(&mut self, _: &mut Context<'_>, connection: &mut dyn Submit) {
        let value = "x".repeat(100_000);
        self.0 = self.0 || connection.submit(1, args!["SET", "k", &value, "GET"]).is_ok();
    }

    fn output(&mut self, _: Output<'_>) {}
}

#[test]
fn an_idle_connection_gives_memory_back_although_it_reads() {
    let (receive, transmit) = (Rc::default(), Rc::default());
    let memory = |shown: &Rc<Cell<usize>>| Shown(Growable::new(1024, 1 << 20), Rc::clone(shown));
    let ring = [Pending::default(); 8];
    let config = Config { set_info: false, ..Config::new(0) };
    let mut connection = Connection::new(config, memory(&receive), memory(&transmit), ring);
    let (world, tokens, talker) = (World::default(), tokens(), Talker::default());
    put(&tokens, "token", world.now());
    let mut one = One(false);
    let all = async {
        let halves = (TalkerHalf(&talker), TalkerHalf(&talker));
        let serving = serve(&mut connection, halves, &world, &tokens, &mut one);
        let looking = async {
            world.sleep_until(Instant::from_millis(4_999)).await;
            assert!(receive.get() > 100_000 && transmit.get() > 100_000);
            world.sleep_until(Instant::from_millis(5_001)).await;
            assert_eq!(transmit.get(), 0, "after seconds of quiet");
            // It can't shrink while it is read into: the next `PING` ends that.
            world.sleep_until(Instant::from_millis(239_999)).await;
            assert_eq!(talker.commands.get(), 2);
            world.sleep_until(Instant::from_millis(240_001)).await;
            assert_eq!(talker.commands.get(), 3);
            assert_eq!(receive.get(), 512);
        };
        either(async { _ = serving.await }, looking).await;
    };
    assert_eq!(world.run(Instant::from_millis(300_000), all), Some(()));
}

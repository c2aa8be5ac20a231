//! What the tests put on a connection, and its parts.

use core::task::Context;
use core::time::Duration;

use redis_entraid_core::args;
use redis_entraid_core::connection::{Config, Connection, Output, Pending, SubmitError};
use redis_entraid_core::drive::{Handler, SharedTokenManager, Submit};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::storage::Storage;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

/// Submits `total` commands as fast as they are taken, and counts what came of them.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) total: u64,
    pub(crate) submitted: u64,
    pub(crate) replies: u64,
    pub(crate) value: String,
    pub(crate) events: Vec<Event>,
    pub(crate) lost: u64,
}

impl Handler for Load {
    fn poll_commands(&mut self, _: &mut Context<'_>, connection: &mut dyn Submit) {
        while self.submitted < self.total {
            match connection.submit(self.submitted, args!["SET", "k", &*self.value]) {
                Ok(()) => self.submitted += 1,
                Err(SubmitError::Full) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn output(&mut self, output: Output<'_>) {
        match output {
            Output::Reply { tag, reply } => {
                assert_eq!(tag, self.replies, "in order");
                assert_eq!(reply.unwrap().str().unwrap(), "hello");
                self.replies += 1;
            }
            Output::Lost { .. } => self.lost += 1,
            Output::Event(event) => self.events.push(event),
            _ => panic!("nobody pushes"),
        }
    }
}

pub(crate) fn tokens() -> SharedTokenManager<[u8; 64]> {
    SharedTokenManager::new(TokenManager::new(
        RefreshPolicy::default(),
        Jitter::none(),
        [[0; 64]; 2],
    ))
}

pub(crate) fn put(tokens: &SharedTokenManager<[u8; 64]>, text: &str, sent: Instant) {
    let token = Token::new(Secret::new(text)).with_user("oid");
    let token = token.with_expires_in(Duration::from_secs(3600));
    tokens.with(|manager| manager.push(sent, &token)).unwrap();
}

/// Memory that doesn't grow, of a size that each test chooses.
#[derive(Debug)]
pub(crate) struct Memory(Vec<u8>);

impl Storage<u8> for Memory {
    fn room(&self) -> &[u8] {
        &self.0
    }
    fn room_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

pub(crate) fn connection(buffer: usize) -> Connection<Memory, [Pending; 64]> {
    let config = Config { set_info: false, ..Config::new(0) };
    let memory = || Memory(std::vec![0; buffer]);
    Connection::new(config, memory(), memory(), [Pending::default(); 64])
}

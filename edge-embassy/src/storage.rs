//! All memory of a client, in one `static`.

use core::fmt;

use redis_entraid_core::command_queue::CommandSlot;
use redis_entraid_core::connection::Pending;
use redis_entraid_core::drive::SharedTokenManager;
use static_cell::StaticCell;

use crate::lent::Home;
use crate::state::ClientState;

/// All memory of a client but for sockets and TLS, for a `static`:
///
/// ```
/// use redis_entraid_embassy::Storage;
/// use static_cell::ConstStaticCell;
///
/// static STORE: ConstStaticCell<Storage> = ConstStaticCell::new(Storage::new());
/// let storage = STORE.take();
/// ```
///
/// It takes `2 * TOKEN + RESPONSE + 2 * COMMAND + 2 * REPLY` bytes, and less than 2,400 for the
/// rest: 15 KiB as it is by default.
///
/// - `TOKEN`: a token with its user name. The tokens of a managed identity have 2 kB, others up to
///   4 kB. There are two, so that the old one serves while the new one is tried.
/// - `RESPONSE`: what a token comes in, its JSON included.
/// - `COMMAND`: the largest command, as it is sent: each word with about 8 bytes more. Twice: commands
///   that wait for the connection, and those that it sends together.
/// - `REPLY`: the largest reply. Twice: what is received, and replies that tasks have not fetched yet.
/// - `FLIGHT`: how many commands may be under way at once. As many again may wait for their turn.
///
/// Besides that, for each socket its two buffers, for TLS the records
/// ([`RECORDS_IN`](crate::edge_tls::RECORDS_IN) and, for example, 1,024 bytes), and what embassy-net
/// and the tasks need.
pub struct Storage<
    const TOKEN: usize = 2560,
    const RESPONSE: usize = 4096,
    const COMMAND: usize = 512,
    const REPLY: usize = 1536,
    const FLIGHT: usize = 8,
> {
    pub(crate) tokens: [[u8; TOKEN]; 2],
    pub(crate) response: [u8; RESPONSE],
    pub(crate) commands: [[u8; COMMAND]; 2],
    pub(crate) replies: [[u8; REPLY]; 2],
    // All of it begins as zeros, so that it takes no flash.
    pub(crate) shared: StaticCell<Shared>,
    pub(crate) ring: StaticCell<[Pending; FLIGHT]>,
    /// As many commands again may wait for their turn.
    pub(crate) slots: StaticCell<[[CommandSlot; FLIGHT]; 2]>,
}

/// What the runner, and partly its clients, share.
pub(crate) struct Shared {
    pub(crate) state: ClientState,
    pub(crate) tokens: SharedTokenManager<&'static mut [u8]>,
    pub(crate) receive: Home<u8>,
    pub(crate) transmit: Home<u8>,
    pub(crate) ring: Home<Pending>,
}

impl<
    const TOKEN: usize,
    const RESPONSE: usize,
    const COMMAND: usize,
    const REPLY: usize,
    const FLIGHT: usize,
> Storage<TOKEN, RESPONSE, COMMAND, REPLY, FLIGHT>
{
    /// Memory, empty.
    pub const fn new() -> Self {
        Self {
            tokens: [[0; TOKEN]; 2],
            response: [0; RESPONSE],
            commands: [[0; COMMAND]; 2],
            replies: [[0; REPLY]; 2],
            shared: StaticCell::new(),
            ring: StaticCell::new(),
            slots: StaticCell::new(),
        }
    }
}

impl<
    const TOKEN: usize,
    const RESPONSE: usize,
    const COMMAND: usize,
    const REPLY: usize,
    const FLIGHT: usize,
> Default for Storage<TOKEN, RESPONSE, COMMAND, REPLY, FLIGHT>
{
    fn default() -> Self {
        Self::new()
    }
}

// There are tokens in it.
impl<
    const TOKEN: usize,
    const RESPONSE: usize,
    const COMMAND: usize,
    const REPLY: usize,
    const FLIGHT: usize,
> fmt::Debug for Storage<TOKEN, RESPONSE, COMMAND, REPLY, FLIGHT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({} bytes)", size_of_val(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_its_documentation_says() {
        let buffers = 2 * 2560 + 4096 + 2 * 512 + 2 * 1536;
        // On a 64-bit machine pointers are larger.
        let rest = size_of::<Storage>() - buffers;
        assert!(rest < 2800, "{rest}");
    }
}

//! A way in for more clones of a client.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::fmt;

use super::Local;
use super::shared::Shared;
use crate::client::{Exchange, Handle, State};

/// Makes [`Local`]s of one connection: see [`Local::door`].
pub struct Door<T> {
    pub(super) exchange: Arc<Exchange<RefCell<State>>>,
    pub(super) shared: Rc<Shared<T>>,
}

impl<T> Door<T> {
    /// A client like the others. When the driver has ended, all that it does fails.
    pub fn enter(&self) -> Local<T> {
        Local { handle: Handle::new(self.exchange.clone()), shared: self.shared.clone() }
    }

    /// Whether one of them is in the middle of a transaction, or of a `WATCH`.
    pub fn has_session(&self) -> bool {
        self.exchange.is_in_session()
    }
}

impl<T> fmt::Debug for Door<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.shared.standing.borrow()).finish()
    }
}

//! What can go wrong, and what to do about it.

pub use redis_entraid_client::{ConfigError, ConnectError, Error, ErrorKind, ServerError};
pub use redis_entraid_core::auth::LoginError;
pub use redis_entraid_core::command::CommandRefused;
pub use redis_entraid_core::connection::{CloseReason, Outcome, ReplyTooLarge};
pub use redis_entraid_core::resp::{Node, Redirect, TypeError};
pub use redis_entraid_core::storage::CapacityError;
pub use redis_entraid_core::transport::ConnectErrorKind;

//! What kind of cluster a server belongs to.
//!
//! ```
//! use redis_entraid_core::cluster::Policy;
//! use redis_entraid_core::resp::Value;
//!
//! let reply = Value::new(b"-ERR This instance has cluster support disabled\r\n").unwrap();
//! assert_eq!(Policy::of(reply), Policy::Single);
//! ```

use crate::resp::{Value, ValueKind};

/// The cluster policy of a database, found from its reply to `CLUSTER SLOTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Policy {
    /// Not found yet. Use the connection to the seed, and follow redirections.
    #[default]
    Unknown,
    /// One server has all keys.
    Single,
    /// One endpoint has all keys, as far as a client sees: Azure's Enterprise policy, which blocks `CLUSTER`.
    Enterprise,
    /// Each node has the keys of its slots: the Redis Cluster API, Azure's OSS policy.
    Oss,
}

impl Policy {
    /// What a reply to `CLUSTER SLOTS` says. [`Policy::Unknown`] is for an error that says nothing of it:
    /// one that will pass, as `LOADING`, or `NOPERM`, which is about the user.
    pub fn of(reply: Value<'_>) -> Self {
        let disabled = b"ERR This instance has cluster support disabled";
        match reply.error() {
            Some(error) if error.text().starts_with(disabled) => Self::Single,
            Some(error) if error.code() == "ERR" => Self::Enterprise,
            Some(_) => Self::Unknown,
            None if matches!(reply.kind(), ValueKind::Array | ValueKind::Set) => Self::Oss,
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_what_the_reply_says() {
        for (reply, policy) in [
            ("*0\r\n", Policy::Oss),
            ("*1\r\n*2\r\n:0\r\n:1\r\n", Policy::Oss),
            ("-ERR This instance has cluster support disabled\r\n", Policy::Single),
            (
                "-ERR unknown command 'CLUSTER', with args beginning with: 'SLOTS'\r\n",
                Policy::Enterprise,
            ),
            ("-ERR unknown subcommand 'SLOTS'\r\n", Policy::Enterprise),
            ("-NOPERM this user has no permissions\r\n", Policy::Unknown),
            ("-LOADING Redis is loading the dataset in memory\r\n", Policy::Unknown),
            ("-NOAUTH Authentication required.\r\n", Policy::Unknown),
            ("-CLUSTERDOWN The cluster is down\r\n", Policy::Unknown),
            ("_\r\n", Policy::Unknown),
            ("+OK\r\n", Policy::Unknown),
        ] {
            assert_eq!(Policy::of(Value::new(reply.as_bytes()).unwrap()), policy, "{reply}");
        }
    }
}

//! What a cluster says instead of a reply.

use core::fmt;

use super::ErrorReply;

/// A cluster's answer to a command that it didn't execute.
///
/// Source: the [cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Redirect<'a> {
    /// The keys are elsewhere, and stay there.
    Moved(Node<'a>),
    /// The keys are being moved: this command, behind an `ASKING`, goes elsewhere. Azure Managed
    /// Redis has no `ASKING`, and shouldn't say so.
    Ask(Node<'a>),
    /// The keys are being moved, and are not all in one place: later.
    TryAgain,
    /// The cluster is not whole: later.
    ClusterDown,
}

/// A node of a cluster, and a slot that it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Node<'a> {
    /// The slot.
    pub slot: u16,
    /// Its address, mostly an IP address, for which no certificate is made; empty for the one
    /// that the answer came from.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
}

impl<'a> ErrorReply<'a> {
    /// Where to go instead, if that is what it says.
    pub fn redirect(&self) -> Option<Redirect<'a>> {
        Redirect::of(self.code(), self.message())
    }
}

impl<'a> Redirect<'a> {
    /// What an error says whose first word is `code`, if it is one of a cluster's.
    pub fn of(code: &str, message: &'a str) -> Option<Self> {
        match code {
            "MOVED" => Node::of(message).map(Self::Moved),
            "ASK" => Node::of(message).map(Self::Ask),
            "TRYAGAIN" => Some(Self::TryAgain),
            "CLUSTERDOWN" => Some(Self::ClusterDown),
            _ => None,
        }
    }
}

impl<'a> Node<'a> {
    /// Reads `3999 127.0.0.1:6381`. An IPv6 address has no brackets, or some: the last colon counts.
    /// A question mark stands for an address that the server doesn't know; a port 0 is none.
    fn of(text: &'a str) -> Option<Self> {
        let (slot, node) = text.split_once(' ')?;
        let (address, port) = node.trim_end().rsplit_once(':')?;
        let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let address = if address == "?" { "" } else { address.trim_matches(['[', ']']) };
        Some(Self { slot, address, port })
    }
}

/// The slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

impl fmt::Display for Redirect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(node) => {
                write!(f, "slot {} is at {}:{}", node.slot, node.address, node.port)
            }
            Self::Ask(node) => {
                write!(f, "slot {} is migrating to {}:{}", node.slot, node.address, node.port)
            }
            Self::TryAgain => f.write_str("keys are migrating, try again"),
            Self::ClusterDown => f.write_str("the cluster is down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Value;

    fn redirect(error: &'static str) -> Option<Redirect<'static>> {
        let value = std::format!("-{error}\r\n").leak();
        Value::new(value.as_bytes()).unwrap().error().unwrap().redirect()
    }

    #[test]
    fn redirections_are_read_in_every_form_of_address() {
        let node = |address, port| Node { slot: 3999, address, port };
        assert_eq!(
            redirect("MOVED 3999 4.195.18.22:8502"),
            Some(Redirect::Moved(node("4.195.18.22", 8502)))
        );
        assert_eq!(redirect("MOVED 3999 :8502"), Some(Redirect::Moved(node("", 8502))));
        assert_eq!(redirect("ASK 3999 fe80::1:8502"), Some(Redirect::Ask(node("fe80::1", 8502))));
        assert_eq!(redirect("MOVED 3999 ?:8502"), Some(Redirect::Moved(node("", 8502))));
        let in_brackets = redirect("MOVED 3999 [2603:1020::5]:8501");
        assert_eq!(in_brackets, Some(Redirect::Moved(node("2603:1020::5", 8501))));
        assert_eq!(redirect("MOVED 3999 host.name:1"), Some(Redirect::Moved(node("host.name", 1))));
        assert_eq!(redirect("TRYAGAIN Multiple keys request"), Some(Redirect::TryAgain));
        assert_eq!(redirect("CLUSTERDOWN Hash slot not served"), Some(Redirect::ClusterDown));
    }

    #[test]
    fn what_is_no_redirection_is_none() {
        for error in [
            "ERR x",
            "MOVED",
            "MOVED 1",
            "MOVED 16384 a:1",
            "MOVED x a:1",
            "MOVED 1 a:65536",
            "MOVED 1 10.0.0.1:0",
            "MOVED 1 a",
            "NOAUTH x",
        ] {
            assert_eq!(redirect(error), None, "{error}");
        }
    }
}

//! Replies that name servers, with their ports of the front instead.

use redis_entraid_core::resp::Value;

use super::slots::{Oddity, Ranges};

/// A command whose reply names servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// `CLUSTER SLOTS`
    Slots,
    /// `CLUSTER SHARDS`
    Shards,
    /// `CLUSTER NODES`
    Nodes,
    /// `EXEC`, whose reply has errors in it.
    Exec,
}

impl Names {
    /// What the reply to a command names.
    pub(crate) fn of(words: &[&[u8]]) -> Option<Self> {
        let is = |at: usize, name: &str| {
            words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
        };
        match is(0, "CLUSTER") {
            true if is(1, "SLOTS") => Some(Self::Slots),
            true if is(1, "SHARDS") => Some(Self::Shards),
            true if is(1, "NODES") => Some(Self::Nodes),
            false if is(0, "EXEC") => Some(Self::Exec),
            _ => None,
        }
    }

    /// The reply with ports of the `front`. `None` if nothing is to be changed.
    pub(crate) fn rewrite(
        self,
        reply: &[u8],
        front: impl Fn(u16) -> Option<u16>,
        oddity: Option<Oddity>,
        resp3: bool,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Slots => Some(Ranges::of(reply, front)?.reply(oddity, resp3)),
            Self::Shards => shards(reply, front),
            Self::Nodes => nodes(reply, front),
            Self::Exec => exec(reply, front),
        }
    }
}

/// A redirection to a port of the `front`. `None` if it is none, or leads elsewhere.
pub(crate) fn redirection(reply: &[u8], front: impl Fn(u16) -> Option<u16>) -> Option<Vec<u8>> {
    if !is_redirection(reply) {
        return None;
    }
    let text = std::str::from_utf8(reply).ok()?.trim_ascii_end();
    let (start, port) = text.rsplit_once(':')?;
    let (start, _) = start.rsplit_once(' ')?;
    Some(format!("{start} 127.0.0.1:{}\r\n", front(port.parse().ok()?)?).into_bytes())
}

/// Whether it is a redirection, to wherever.
pub(crate) fn is_redirection(reply: &[u8]) -> bool {
    reply.starts_with(b"-MOVED ") || reply.starts_with(b"-ASK ")
}

/// The head of an aggregate, with its line's end.
fn head(raw: &[u8]) -> &[u8] {
    raw.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
}

fn exec(reply: &[u8], front: impl Fn(u16) -> Option<u16>) -> Option<Vec<u8>> {
    let reply = Value::framed(reply);
    if !reply.items().any(|item| is_redirection(item.raw())) {
        return None;
    }
    let mut out = head(reply.raw()).to_vec();
    for item in reply.items() {
        out.extend(redirection(item.raw(), &front).as_deref().unwrap_or(item.raw()));
    }
    Some(out)
}

fn shards(reply: &[u8], front: impl Fn(u16) -> Option<u16>) -> Option<Vec<u8>> {
    let reply = Value::framed(reply);
    let _ = reply.items().next()?.get("nodes")?;
    let mut out = head(reply.raw()).to_vec();
    for shard in reply.items() {
        out.extend(head(shard.raw()));
        fields(shard, |key, value| {
            out.extend(key.raw());
            if key.bytes() != Ok(b"nodes") {
                return out.extend(value.raw());
            }
            let is_primary = |node: &Value<'_>| {
                node.get("role").is_some_and(|role| role.bytes() == Ok(b"master"))
            };
            let primaries: Vec<Value<'_>> = value.items().filter(is_primary).collect();
            out.extend(format!("*{}\r\n", primaries.len()).bytes());
            for node in primaries {
                out.extend(head(node.raw()));
                fields(node, |key, value| {
                    out.extend(key.raw());
                    let port = || u16::try_from(value.int().ok()?).ok();
                    let front = match key.bytes() {
                        Ok(b"port" | b"tls-port") => port().and_then(&front),
                        _ => None,
                    };
                    match front {
                        Some(front) => out.extend(format!(":{front}\r\n").bytes()),
                        None => out.extend(value.raw()),
                    }
                });
            }
        });
    }
    Some(out)
}

/// Calls with each key and its value.
fn fields<'v>(map: Value<'v>, mut each: impl FnMut(Value<'v>, Value<'v>)) {
    let mut items = map.items();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        each(key, value);
    }
}

fn nodes(reply: &[u8], front: impl Fn(u16) -> Option<u16>) -> Option<Vec<u8>> {
    let text = Value::framed(reply).str().ok()?;
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let flags = words.get(2)?;
        if flags.contains("slave") {
            return None;
        }
        // The address, the port of the bus, and names: `127.0.0.1:7001@17001,name`
        let (address, _) = words.get(1)?.split_once('@')?;
        let (_, port) = address.rsplit_once(':')?;
        let address = front(port.parse().ok()?).map(|port| format!("127.0.0.1:{port}@{port}"));
        if let Some(address) = &address {
            words[1] = address;
        }
        Some(words.join(" ") + "\n")
    };
    let lines: String = text.lines().filter_map(line).collect();
    Some(match reply {
        [b'=', ..] => format!("={}\r\ntxt:{lines}\r\n", lines.len() + 4).into_bytes(),
        _ => format!("${}\r\n{lines}\r\n", lines.len()).into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(port: u16) -> Option<u16> {
        (7000..8000).contains(&port).then_some(port + 2000)
    }

    #[test]
    fn redirections_lead_to_the_front() {
        let rewritten = |reply: &str| {
            redirection(reply.as_bytes(), front).map(|reply| String::from_utf8(reply).unwrap())
        };
        let moved = rewritten("-MOVED 15495 127.0.0.1:7001\r\n");
        assert_eq!(moved.as_deref(), Some("-MOVED 15495 127.0.0.1:9001\r\n"));
        assert_eq!(rewritten("-ASK 1 ::1:7001\r\n").as_deref(), Some("-ASK 1 127.0.0.1:9001\r\n"));
        assert_eq!(rewritten("-MOVED 1 :7001\r\n").as_deref(), Some("-MOVED 1 127.0.0.1:9001\r\n"));
        for untouched in ["-MOVED 1 127.0.0.1:9001\r\n", "-ERR a:1\r\n", "+MOVED 1 a:1\r\n"] {
            assert_eq!(rewritten(untouched), None, "{untouched}");
        }
    }

    #[test]
    fn in_the_reply_to_exec_only_redirections_change() {
        let reply = b"*3\r\n+OK\r\n-MOVED 1 127.0.0.1:7001\r\n$20\r\n-MOVED 1 127.0.0.1:7\r\n";
        let out = Names::Exec.rewrite(reply, front, None, false).unwrap();
        let wanted = b"*3\r\n+OK\r\n-MOVED 1 127.0.0.1:9001\r\n$20\r\n-MOVED 1 127.0.0.1:7\r\n";
        assert_eq!(out, wanted);
        assert_eq!(Names::Exec.rewrite(b"*1\r\n-ERR x\r\n", front, None, false), None);
        assert_eq!(Names::Exec.rewrite(b"*-1\r\n", front, None, false), None);
    }

    #[test]
    fn nodes_lose_their_replicas_and_addresses() {
        let text = "aa 127.0.0.1:7001@17001,host myself,master - 0 0 1 connected 0-5 [6-<-bb]\n\
            bb 127.0.0.1:7002@17002 slave aa 0 0 1 connected\n\
            cc :0@0 master,noaddr - 0 0 1 disconnected\n";
        let left = "aa 127.0.0.1:9001@9001 myself,master - 0 0 1 connected 0-5 [6-<-bb]\n\
            cc :0@0 master,noaddr - 0 0 1 disconnected\n";
        for (head, more) in [("$", 0), ("=", 4)] {
            let prefix = if more > 0 { "txt:" } else { "" };
            let of = |text: &str| format!("{head}{}\r\n{prefix}{text}\r\n", text.len() + more);
            let out = Names::Nodes.rewrite(of(text).as_bytes(), front, None, more > 0).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), of(left));
        }
    }
}

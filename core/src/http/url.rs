//! The parts of a URL, for hosts that write requests themselves.

/// The parts of an absolute `http` or `https` URL that a request is made of (RFC 3986 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'u> {
    /// Whether it is `https`.
    pub secure: bool,
    /// Host and port as they are written: what `Host` has.
    pub authority: &'u str,
    /// The host; an IPv6 address in its brackets.
    pub host: &'u str,
    /// The port: 80 or 443 if the URL has none.
    pub port: u16,
    /// The path with its query; `/` if the URL has none.
    pub path: &'u str,
}

impl<'u> Url<'u> {
    /// Takes `url` apart. `None` if it is no such URL, or has a character that may not be in one.
    pub fn parse(url: &'u str) -> Option<Self> {
        let (secure, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let (authority, path) = match rest.find('/') {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        // The colons of an IPv6 address are in brackets.
        let name = authority.find(']').map_or(0, |end| end + 1);
        let (host, port) = match authority.get(name..)?.find(':') {
            Some(colon) => {
                let (host, port) = authority.split_at(name + colon);
                (host, port.get(1..)?.parse().ok()?)
            }
            None => (authority, if secure { 443 } else { 80 }),
        };
        let visible = authority.bytes().chain(path.bytes()).all(|byte| byte.is_ascii_graphic());
        let is_host = !host.is_empty() && !host.contains('?');
        (is_host && visible).then_some(Self { secure, authority, host, port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_where_a_request_wants_it() {
        let parts = |url| {
            let Url { secure, authority, host, port, path } = Url::parse(url)?;
            Some((secure, authority, host, port, path))
        };
        for (url, expected) in [
            (
                "http://10.0.2.101:8080/msi/token?a=b",
                (false, "10.0.2.101:8080", "10.0.2.101", 8080, "/msi/token?a=b"),
            ),
            ("https://login.example/t", (true, "login.example", "login.example", 443, "/t")),
            (
                "https://login.example:8443",
                (true, "login.example:8443", "login.example", 8443, "/"),
            ),
            ("http://[::1]:80", (false, "[::1]:80", "[::1]", 80, "/")),
            ("http://[::1]/t", (false, "[::1]", "[::1]", 80, "/t")),
        ] {
            assert_eq!(parts(url), Some(expected));
        }
        for wrong in [
            "http://h/a b",
            "http://h/a\r\nb",
            "http://h\n/",
            "ftp://h/",
            "h/",
            "http:///",
            "http://h:x/",
            "http://h:99999/",
            "http://h?q",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}

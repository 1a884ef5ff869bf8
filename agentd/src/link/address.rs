//! Where the control plane is, from what a person typed.

use super::fault::Fault;

/// Host and TCP port of the control plane's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// Of the HTTP listener; only used to find out whether the machine can be reached at all.
    pub http_port: u16,
}

impl ServerAddress {
    /// Reads `https://host[:port][/…]`, `http://…` or a bare `host[:port]`.
    pub fn parse(url: &str) -> Result<Self, Fault> {
        let wrong = || Fault::Address { url: url.chars().take(200).collect() };
        let text = url.trim();
        let (http_port, rest) = match text.split_once("://") {
            Some(("https", rest)) => (443, rest),
            Some(("http", rest)) => (80, rest),
            Some(_) => return Err(wrong()),
            None => (443, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or_else(wrong)?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let http_port = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None => http_port,
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), http_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_found_in_every_usual_form() {
        for (url, host, port) in [
            ("https://holdfast.example", "holdfast.example", 443),
            ("http://127.0.0.1:7070", "127.0.0.1", 7_070),
            ("https://box:8443/some/path?x#y", "box", 8_443),
            ("http://[::1]:7070/", "::1", 7_070),
            ("  box.local ", "box.local", 443),
            ("box:9", "box", 9),
        ] {
            let found = ServerAddress::parse(url).unwrap();
            assert_eq!((found.host.as_str(), found.http_port), (host, port), "{url}");
        }
    }

    #[test]
    fn what_has_no_host_is_refused_by_name() {
        for url in ["", "https://", "ftp://a", "https://a:port", "http://u@h", "a b", "http://[::1"]
        {
            assert!(matches!(ServerAddress::parse(url), Err(Fault::Address { .. })), "{url}");
        }
    }
}

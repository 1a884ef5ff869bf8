//! Under which names the server may be called, and from which pages.
//!
//! The list is what stops DNS rebinding: a page of a stranger that points its own name at our
//! address still sends its own name as `Host`. Forwarding headers are not looked at, since anybody
//! can send them.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

use crate::options::HttpOptions;

/// Names that always mean this machine.
const LOOPBACK_NAMES: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

/// The allow-list.
#[derive(Clone, Debug)]
pub struct Hosts {
    names: Vec<String>,
    public_origin: Option<String>,
    any_address: bool,
}

/// What the `Origin` header says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A page of ours.
    Ours,
    /// No page, or a browser that does not say.
    Unsaid,
    /// A page of somebody else.
    Foreign,
}

impl Hosts {
    /// From the configuration and the address that is really listened on.
    #[must_use]
    pub fn new(options: &HttpOptions, listen: SocketAddr) -> Self {
        let mut names: Vec<String> = LOOPBACK_NAMES.iter().map(|name| (*name).to_owned()).collect();
        names.push(literal(listen.ip()));
        names.extend(options.allowed_hosts.iter().map(|name| host_of(name).to_owned()));
        let public = options.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        names.extend(public.as_ref().and_then(|uri| uri.host()).map(str::to_ascii_lowercase));
        Self {
            names,
            public_origin: options.public_url.clone(),
            any_address: listen.ip().is_unspecified(),
        }
    }

    /// Whether the request was sent to one of our names: exactly one `Host`, and it is listed.
    #[must_use]
    pub fn allows(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        // A target in absolute form must not name another host than the header does.
        let same = uri.authority().is_none_or(|authority| authority.as_str() == host);
        same && self.knows(host_of(host))
    }

    fn knows(&self, host: &str) -> bool {
        // A literal address cannot be rebound; on an unspecified listener we cannot list ours.
        let is_literal = || {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<IpAddr>().is_ok_and(|ip| literal(ip) == host)
        };
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
            || (self.any_address && is_literal())
    }

    /// Who asks, by `Origin` and `Sec-Fetch-Site`.
    #[must_use]
    pub fn asker(&self, headers: &HeaderMap) -> Asker {
        let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str());
        match text(header::ORIGIN) {
            Some(Ok(origin)) if self.is_ours(origin, headers) => Asker::Ours,
            Some(_) => Asker::Foreign,
            None => match text(http::HeaderName::from_static("sec-fetch-site")) {
                Some(Ok("same-origin" | "none")) | None => Asker::Unsaid,
                Some(_) => Asker::Foreign,
            },
        }
    }

    /// The page's host and port must be the ones it calls. Behind a proxy the scheme we see is not
    /// the page's, so the public address is compared whole.
    fn is_ours(&self, origin: &str, headers: &HeaderMap) -> bool {
        if self.public_origin.as_deref() == Some(origin) {
            return true;
        }
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        page.is_some_and(|page| host.is_some_and(|host| host.eq_ignore_ascii_case(page)))
    }
}

fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `name:port` → `name`; `[::1]:port` → `[::1]`.
fn host_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn hosts(listen: &str) -> Hosts {
        let options = HttpOptions {
            listen: listen.parse().unwrap(),
            public_url: Some("https://holdfast.example".to_owned()),
            allowed_hosts: vec!["box.lan".to_owned()],
            read_timeout: Duration::from_secs(1),
            body_limit_bytes: 1,
        };
        Hosts::new(&options, options.listen)
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn b16_only_our_own_names_are_answered() {
        let hosts = hosts("127.0.0.1:7070");
        let allowed =
            |host: &str| hosts.allows(&headers(&[("host", host)]), &Uri::from_static("/"));
        for host in ["localhost:7070", "127.0.0.1", "[::1]:9", "BOX.lan:80", "holdfast.example"] {
            assert!(allowed(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.1",
            "2130706433",
            "0x7f000001",
            "10.0.0.1",
            "localhost.evil.example",
            "localhost:7070@evil",
            "box.lan.",
        ] {
            assert!(!allowed(host), "{host}");
        }
        let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
        assert!(!hosts.allows(&twice, &Uri::from_static("/")));
        assert!(!hosts.allows(&HeaderMap::new(), &Uri::from_static("/")));
        let other = Uri::from_static("http://evil.example/");
        assert!(!hosts.allows(&headers(&[("host", "localhost")]), &other));
    }

    #[test]
    fn b16_an_unspecified_listener_answers_plain_addresses_only() {
        let hosts = hosts("0.0.0.0:7070");
        let allowed =
            |host: &str| hosts.allows(&headers(&[("host", host)]), &Uri::from_static("/"));
        assert!(allowed("10.0.0.1:7070") && allowed("[fe80::1]"));
        assert!(!allowed("evil.example") && !allowed("127.1"));
    }

    #[test]
    fn b25_a_page_is_ours_only_if_it_calls_its_own_host() {
        let hosts = hosts("127.0.0.1:7070");
        let asker = |pairs: &[(&str, &str)]| hosts.asker(&headers(pairs));
        let local = ("host", "localhost:7070");
        assert_eq!(asker(&[local, ("origin", "http://localhost:7070")]), Asker::Ours);
        assert_eq!(asker(&[local, ("origin", "https://holdfast.example")]), Asker::Ours);
        assert_eq!(asker(&[local, ("origin", "http://localhost:3000")]), Asker::Foreign);
        assert_eq!(asker(&[local, ("origin", "null")]), Asker::Foreign);
        assert_eq!(asker(&[local, ("sec-fetch-site", "cross-site")]), Asker::Foreign);
        assert_eq!(asker(&[local]), Asker::Unsaid);
    }
}

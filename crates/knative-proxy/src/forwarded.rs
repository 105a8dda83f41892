//! What the container learns about where a request came from: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `traceparent`.
//!
//! The gateway adds the client to `X-Forwarded-For` and says the protocol; queue-proxy makes `Forwarded` of the `X-Forwarded-*` headers where nobody has, as
//! Knative's does, and begins an unsampled trace (W3C Trace Context) where there is none.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::headers::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, value};
use crate::random;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const HEX: &[u8; 16] = b"0123456789abcdef";
/// `00-<32 digits>-<16 digits>-00`: version, trace, span, and no flag.
const TRACEPARENT_LEN: usize = 55;

/// Adds a client to those whom the request has passed.
pub(crate) fn add_client(headers: &mut HeaderMap, client: &HeaderValue) {
    if !headers.contains_key(FORWARDED_FOR) {
        headers.insert(FORWARDED_FOR, client.clone());
        return;
    }
    // Lines of one name are one list (RFC 9110, section 5.3).
    let before = headers.get_all(FORWARDED_FOR).iter().filter(|line| !line.is_empty());
    let all: Vec<&[u8]> = before.chain([client]).map(HeaderValue::as_bytes).collect();
    if let Ok(all) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        headers.insert(FORWARDED_FOR, all);
    }
}

/// Says by which protocol the client came, unless a proxy says so that may be `trusted`: TLS may have ended there.
pub(crate) fn add_proto(headers: &mut HeaderMap, scheme: &'static str, is_trusted: bool) {
    if !is_trusted || value(headers, &FORWARDED_PROTO).is_none_or(str::is_empty) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// Whether the client came by TLS, as far as this and the proxies before know.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    let proto = value(headers, &FORWARDED_PROTO).and_then(|proto| proto.split(',').next());
    proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

/// Whether a peer may be a proxy of this machine's operator: it is here, or in a private network. What it says of its clients is believed.
pub(crate) fn is_trusted(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Adds `Forwarded`, unless it is there or nothing is known.
pub(crate) fn add_forwarded(headers: &mut HeaderMap) {
    if headers.contains_key(FORWARDED) {
        return;
    }
    let of = |name| value(headers, &name).unwrap_or_default();
    let clients = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let made = make_forwarded(clients, of(FORWARDED_PROTO), of(FORWARDED_HOST));
    if let (false, Ok(made)) = (made.is_empty(), HeaderValue::from_str(&made)) {
        headers.insert(FORWARDED, made);
    }
}

/// The first client with host and protocol, then the proxies.
fn make_forwarded<'h>(clients: impl Iterator<Item = &'h str>, proto: &str, host: &str) -> String {
    let mut out = String::with_capacity(proto.len() + host.len() + 64);
    let mut nodes = clients.flat_map(|line| line.split(',')).map(str::trim).filter(|node| !node.is_empty());
    let first = nodes.next();
    for (name, value) in [("for=", first.unwrap_or_default()), ("host=", host), ("proto=", proto)] {
        if value.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(';');
        }
        out.push_str(name);
        push_node(&mut out, value, name == "for=");
    }
    for node in nodes {
        out.push_str(", for=");
        push_node(&mut out, node, true);
    }
    out
}

/// An IPv6 address stands in brackets and quotes.
fn push_node(out: &mut String, node: &str, is_node: bool) {
    let is_v6 = is_node && node.parse::<std::net::Ipv6Addr>().is_ok();
    if is_v6 {
        out.push_str("\"[");
    }
    out.push_str(node);
    if is_v6 {
        out.push_str("]\"");
    }
}

/// Begins a trace, unless the request belongs to one.
pub(crate) fn add_trace(headers: &mut HeaderMap) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    if let Ok(parent) = HeaderValue::from_bytes(&make_traceparent(
        u128::from(random::bits()) << 64 | u128::from(random::bits()),
        random::bits(),
    )) {
        headers.insert(TRACEPARENT, parent);
    }
}

fn make_traceparent(trace: u128, span: u64) -> [u8; TRACEPARENT_LEN] {
    // Identifiers of zeros only are not valid.
    let (trace, span) = (trace.max(1).to_be_bytes(), span.max(1).to_be_bytes());
    let hex = |bytes: &[u8]| bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect::<Vec<_>>();
    let mut out = [b'0'; TRACEPARENT_LEN];
    let digits = |nibbles: Vec<u8>| nibbles.into_iter().filter_map(|nibble| HEX.get(usize::from(nibble)).copied());
    let text = b"00-".iter().copied().chain(digits(hex(&trace))).chain([b'-']).chain(digits(hex(&span))).chain(*b"-00");
    for (place, byte) in out.iter_mut().zip(text) {
        *place = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_as_knative_makes_it() {
        for (clients, proto, host, expected) in [
            ("", "", "", ""),
            ("127.0.0.1", "", "", "for=127.0.0.1"),
            ("", "http", "", "proto=http"),
            ("", "", "a.example", "host=a.example"),
            ("127.0.0.1", "http", "a.example", "for=127.0.0.1;host=a.example;proto=http"),
            ("10.0.0.1, 10.0.0.2,10.0.0.3", "http", "", "for=10.0.0.1;proto=http, for=10.0.0.2, for=10.0.0.3"),
            ("10.0.0.1|10.0.0.2", "http", "", "for=10.0.0.1;proto=http, for=10.0.0.2"),
            ("2001:db8::1", "https", "", "for=\"[2001:db8::1]\";proto=https"),
        ] {
            assert_eq!(make_forwarded(clients.split('|'), proto, host), expected);
        }
    }

    #[test]
    fn what_is_there_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_static("for=me"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-1-2-01"));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("3.3.3.3, 4.4.4.4"));
        add_forwarded(&mut headers);
        add_trace(&mut headers);
        add_client(&mut headers, &HeaderValue::from_static("2.2.2.2"));
        assert_eq!(headers[FORWARDED], "for=me");
        assert_eq!(headers[TRACEPARENT], "00-1-2-01");
        assert_eq!(headers[FORWARDED_FOR], "1.1.1.1, 3.3.3.3, 4.4.4.4, 2.2.2.2");
        assert_eq!(headers.get_all(FORWARDED_FOR).iter().count(), 1);
    }

    #[test]
    fn a_proxy_nearby_knows_the_protocol() {
        for (said, is_trusted, expected) in [
            (None, true, "http"),
            (Some("https"), true, "https"),
            (Some("https"), false, "http"),
            (Some(""), true, "http"),
        ] {
            let mut headers = HeaderMap::new();
            said.into_iter().for_each(|said| drop(headers.insert(FORWARDED_PROTO, HeaderValue::from_static(said))));
            add_proto(&mut headers, "http", is_trusted);
            assert_eq!(headers[FORWARDED_PROTO], expected, "{said:?} {is_trusted}");
            assert_eq!(is_https(&headers), expected == "https");
        }
        for (peer, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("::ffff:172.16.0.1", true),
            ("fd00::1", true),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_trusted(peer.parse().unwrap()), expected, "{peer}");
        }
    }

    #[test]
    fn a_trace_begins() {
        let parent = make_traceparent(0xab, 0);
        let text = std::str::from_utf8(&parent).unwrap();
        assert_eq!(text, "00-000000000000000000000000000000ab-0000000000000001-00");
    }
}

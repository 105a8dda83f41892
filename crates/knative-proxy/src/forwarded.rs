//! What the container learns about where a request came from: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `traceparent`.
//!
//! The gateway adds the client to `X-Forwarded-For`; queue-proxy makes `Forwarded` of the `X-Forwarded-*` headers where nobody has, as
//! Knative's does, and begins an unsampled trace (W3C Trace Context) where there is none.

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
    let Some(before) = headers.get(FORWARDED_FOR) else {
        headers.insert(FORWARDED_FOR, client.clone());
        return;
    };
    let all = [before.as_bytes(), b", ", client.as_bytes()].concat();
    if let Ok(all) = HeaderValue::from_bytes(&all) {
        headers.insert(FORWARDED_FOR, all);
    }
}

/// Adds `Forwarded`, unless it is there or nothing is known.
pub(crate) fn add_forwarded(headers: &mut HeaderMap) {
    if headers.contains_key(FORWARDED) {
        return;
    }
    let of = |name| value(headers, &name).unwrap_or_default();
    let made = make_forwarded(of(FORWARDED_FOR), of(FORWARDED_PROTO), of(FORWARDED_HOST));
    if let (false, Ok(made)) = (made.is_empty(), HeaderValue::from_str(&made)) {
        headers.insert(FORWARDED, made);
    }
}

/// The first client with host and protocol, then the proxies.
fn make_forwarded(clients: &str, proto: &str, host: &str) -> String {
    let mut out = String::with_capacity(clients.len() * 2 + proto.len() + host.len() + 24);
    let mut nodes = clients.split(',').map(str::trim).filter(|node| !node.is_empty());
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
            ("2001:db8::1", "https", "", "for=\"[2001:db8::1]\";proto=https"),
        ] {
            assert_eq!(make_forwarded(clients, proto, host), expected);
        }
    }

    #[test]
    fn what_is_there_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_static("for=me"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-1-2-01"));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        add_forwarded(&mut headers);
        add_trace(&mut headers);
        add_client(&mut headers, &HeaderValue::from_static("2.2.2.2"));
        assert_eq!(headers[FORWARDED], "for=me");
        assert_eq!(headers[TRACEPARENT], "00-1-2-01");
        assert_eq!(headers[FORWARDED_FOR], "1.1.1.1, 2.2.2.2");
    }

    #[test]
    fn a_trace_begins() {
        let parent = make_traceparent(0xab, 0);
        let text = std::str::from_utf8(&parent).unwrap();
        assert_eq!(text, "00-000000000000000000000000000000ab-0000000000000001-00");
    }
}

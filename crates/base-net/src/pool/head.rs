//! A request's head in its target's protocol: what came by HTTP/2 may go out by HTTP/1.1, and the reverse.

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body::Body as _;

use crate::body::{Body, Request};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that mean something only on one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Says it in HTTP/1.1: a path, and a `Host`.
pub(super) fn for_http1(request: &mut Request) {
    if request.version() != Version::HTTP_11 {
        if request.version() == Version::HTTP_2 {
            join_cookies(request.headers_mut());
        }
        *request.version_mut() = Version::HTTP_11;
    }
    // The server at this end has said "continue" to the client; the other one is not asked.
    request.headers_mut().remove(EXPECT);
    if request.uri().authority().is_none() || request.method() == Method::CONNECT {
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let (Some(authority), false) = (&parts.authority, request.headers().contains_key(HOST))
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    (parts.scheme, parts.authority) = (None, None);
    *request.uri_mut() = uri(parts);
}

/// Says it in HTTP/2: a whole URI, and no header that only HTTP/1.1 knows. None if nobody says who the host is.
pub(super) fn for_http2(request: &mut Request, is_tls: bool) -> Option<()> {
    *request.version_mut() = Version::HTTP_2;
    let is_trailers_wanted =
        request.headers().get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let authority = match request.headers_mut().remove(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).ok()?,
        None => request.uri().authority()?.clone(),
    };
    for name in HOP_BY_HOP {
        request.headers_mut().remove(name);
    }
    request.headers_mut().remove(EXPECT);
    if is_trailers_wanted {
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    *request.uri_mut() = uri(parts);
    Some(())
}

fn uri(mut parts: Parts) -> Uri {
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // Parts of a URI that has been one, with a path and with both or neither of scheme and authority, are a URI.
    Uri::from_parts(parts).unwrap_or_default()
}

/// HTTP/2 may split cookies over several headers (RFC 9113, section 8.2.3); HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// A copy of a request that may be sent twice: a safe method, and no body.
pub(super) fn repeatable(request: &Request) -> Option<Request> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if !is_safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Removes the headers that mean something only on the connection that they came on, with those that `Connection` names. An upgrade stays
/// one: its `Connection: upgrade` and `Upgrade` are kept.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let upgrade = crate::upgrade::is_upgrade(headers).then(|| headers.get(UPGRADE).cloned()).flatten();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let wants_trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in HOP_BY_HOP.iter().filter(|name| **name != TRAILER).chain(&named) {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, version: Version, headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri.parse().unwrap();
        *request.version_mut() = version;
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    fn shown(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join(" ")
    }

    #[test]
    fn http2_becomes_http1() {
        let mut h2 = request("http://hello.example/a?b", Version::HTTP_2, &[("cookie", "a=1"), ("cookie", "b=2")]);
        for_http1(&mut h2);
        assert_eq!((h2.uri().to_string().as_str(), h2.version()), ("/a?b", Version::HTTP_11));
        assert_eq!(shown(h2.headers()), "cookie=a=1; b=2 host=hello.example");
        let mut h1 = request("/x", Version::HTTP_11, &[("host", "h"), ("expect", "100-continue")]);
        for_http1(&mut h1);
        assert_eq!((h1.uri().to_string().as_str(), shown(h1.headers()).as_str()), ("/x", "host=h"));
        let mut proxied = request("http://other/", Version::HTTP_11, &[("host", "h")]);
        for_http1(&mut proxied);
        assert_eq!((proxied.uri().to_string().as_str(), shown(proxied.headers()).as_str()), ("/", "host=h"));
    }

    #[test]
    fn http1_becomes_http2() {
        let headers = [("host", "h:80"), ("connection", "keep-alive"), ("te", "trailers"), ("x", "y")];
        let mut h1 = request("/a?b", Version::HTTP_11, &headers);
        assert!(for_http2(&mut h1, false).is_some());
        assert_eq!(
            (h1.uri().to_string().as_str(), shown(h1.headers()).as_str()),
            ("http://h:80/a?b", "te=trailers x=y")
        );
        assert!(for_http2(&mut request("/", Version::HTTP_11, &[]), false).is_none());
    }

    #[test]
    fn only_a_safe_request_without_a_body_is_repeatable() {
        let get = request("/", Version::HTTP_11, &[("host", "h")]);
        assert_eq!(shown(repeatable(&get).unwrap().headers()), "host=h");
        let mut post = request("/", Version::HTTP_11, &[]);
        *post.method_mut() = Method::POST;
        assert!(repeatable(&post).is_none());
        assert!(repeatable(&get.map(|_| Body::from("x"))).is_none());
    }

    #[test]
    fn hop_by_hop_headers_go_and_an_upgrade_stays() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = request("/", Version::HTTP_11, pairs).headers().clone();
            remove_hop_by_hop(&mut headers);
            shown(&headers)
        };
        assert_eq!(
            of(&[("connection", "close, x-mine"), ("x-mine", "1"), ("x-other", "2"), ("te", "gzip")]),
            "x-other=2"
        );
        let upgrade = of(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("keep-alive", "5")]);
        assert_eq!(upgrade, "connection=upgrade upgrade=websocket");
        assert_eq!(of(&[("te", "trailers"), ("trailer", "x")]), "te=trailers trailer=x");
    }
}

//! The headers by which the parts of the request path speak to each other, and short answers.
//!
//! Names and values are those of `knative_apis::meta::header`, in the form that lookups are cheapest in.

use base_net::{Body, Request, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use knative_apis::meta::header;

/// `K-Network-Probe`.
pub(crate) const PROBE: HeaderName = HeaderName::from_static(header::PROBE);
/// `K-Network-Hash`.
pub(crate) const HASH: HeaderName = HeaderName::from_static(header::HASH);
/// `K-Proxy-Request`.
pub(crate) const PROXY: HeaderName = HeaderName::from_static(header::PROXY);
/// `K-Original-Host`.
pub(crate) const ORIGINAL_HOST: HeaderName = HeaderName::from_static(header::ORIGINAL_HOST);
/// `K-Kubelet-Probe`.
pub(crate) const KUBELET_PROBE: HeaderName = HeaderName::from_static(header::KUBELET_PROBE);
/// `Knative-Serving-Revision`.
pub(crate) const REVISION: HeaderName = HeaderName::from_static(header::REVISION);
/// `Knative-Serving-Namespace`.
pub(crate) const NAMESPACE: HeaderName = HeaderName::from_static(header::NAMESPACE);
/// `X-Forwarded-For`.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer with a short text.
pub(crate) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Nobody says which host a request is for, or it is said in ways that others would read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHost;

/// Has a client's request say in `Host`, and there alone, which host it is for, and returns that (RFC 9112, sections 3.2 and 3.2.2): what the
/// request's target says counts before `Host`, of which HTTP/1.1 has exactly one.
pub(crate) fn settle_host(request: &mut Request) -> Result<HeaderValue, BadHost> {
    let mut said = request.headers().get_all(HOST).iter();
    let (host, is_ambiguous) = (said.next(), said.next().is_some());
    if is_ambiguous || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(BadHost);
    }
    let Some(authority) = request.uri().authority() else {
        return host.filter(|host| is_host(host.as_bytes())).cloned().ok_or(BadHost);
    };
    let named = authority.as_str().rsplit('@').next().unwrap_or_default();
    let named = HeaderValue::from_str(named).ok().filter(|named| is_host(named.as_bytes())).ok_or(BadHost)?;
    request.headers_mut().insert(HOST, named.clone());
    Ok(named)
}

/// Whether this may be a name or an address, with a port or without.
fn is_host(text: &[u8]) -> bool {
    let may_be = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~:[]%!$&'()*+;=".contains(byte);
    !text.is_empty() && text.iter().all(may_be)
}

/// The host that the client asks for, with its port if it says one. HTTP/2 says it in the URI.
pub(crate) fn host(request: &Request) -> Option<&str> {
    let authority = || request.uri().authority().map(http::uri::Authority::as_str);
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).or_else(authority)
}

/// The value of a header, if it is text.
pub(crate) fn value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Removes the headers that mean something on one connection only. `Connection` names further ones, but not those that the request's framing
/// and the parts of its path rely on: a client would otherwise have them removed after they were added.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most often it is one word, or nothing.
    if !headers.get_all(CONNECTION).iter().all(|said| said == "keep-alive" || said == "close") {
        let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
        let named = lines.flat_map(|line| line.split(',')).map(str::trim);
        let kept = named.filter(|name| !is_relied_on(&name.to_ascii_lowercase())).collect::<Vec<_>>().join(",");
        match HeaderValue::try_from(kept) {
            Ok(kept) => drop(headers.insert(CONNECTION, kept)),
            Err(_) => drop(headers.remove(CONNECTION)),
        }
    }
    base_net::pool::remove_hop_by_hop(headers);
}

fn is_relied_on(name: &str) -> bool {
    [HOST, CONTENT_LENGTH, FORWARDED].iter().any(|relied_on| relied_on == name)
        || ["x-forwarded-", "k-", "knative-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the node asks.
pub(crate) fn is_kubelet_probe(headers: &HeaderMap) -> bool {
    agent_begins(headers, header::KUBE_PROBE_AGENT_PREFIX) || headers.contains_key(KUBELET_PROBE)
}

/// Whether a request asks for queue-proxy's health, and not for an answer of the user's container.
pub(crate) fn is_health_probe(headers: &HeaderMap) -> bool {
    is_kubelet_probe(headers)
        || agent_begins(headers, header::ACTIVATOR_AGENT)
        || agent_begins(headers, header::AUTOSCALING_AGENT)
}

fn agent_begins(headers: &HeaderMap, prefix: &str) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(prefix.as_bytes()))
}

/// The refusal of a probe that somebody else should answer.
pub(crate) fn unexpected_probe(found: &str) -> Response {
    text(StatusCode::BAD_REQUEST, format!("unexpected probe header value: {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_probes() {
        for (name, value, is_health) in [
            ("user-agent", "kube-probe/1.34", true),
            ("user-agent", "Knative-Activator-Probe", true),
            ("user-agent", "Knative-Autoscaling-Probe", true),
            ("user-agent", "curl/8", false),
            ("k-kubelet-probe", "queue", true),
            ("k-network-probe", "queue", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(is_health_probe(&headers), is_health, "{name}: {value}");
        }
    }

    #[test]
    fn one_host_or_none() {
        let settled = |uri: &str, version: Version, hosts: &[&'static str]| {
            let mut request = Request::new(Body::empty());
            (*request.uri_mut(), *request.version_mut()) = (uri.parse().unwrap(), version);
            for host in hosts {
                request.headers_mut().append(HOST, HeaderValue::from_static(host));
            }
            let host = settle_host(&mut request);
            assert!(host.is_err() || request.headers().get_all(HOST).iter().eq(host.iter()));
            host.map(|host| host.to_str().unwrap().to_owned()).map_err(|BadHost| "bad")
        };
        for (uri, version, hosts, expected) in [
            ("/", Version::HTTP_11, &["a.example:80"][..], Ok("a.example:80")),
            ("/", Version::HTTP_11, &["[::1]:80"], Ok("[::1]:80")),
            ("http://b.example/", Version::HTTP_11, &["a.example"], Ok("b.example")),
            ("http://me@b.example:81/", Version::HTTP_2, &[], Ok("b.example:81")),
            ("http://b.example/", Version::HTTP_2, &["a.example"], Ok("b.example")),
            ("/", Version::HTTP_2, &["a.example"], Ok("a.example")),
            ("/", Version::HTTP_10, &["a.example"], Ok("a.example")),
            ("/", Version::HTTP_10, &[], Err("bad")),
            ("/", Version::HTTP_11, &[], Err("bad")),
            ("http://b.example/", Version::HTTP_11, &[], Err("bad")),
            ("/", Version::HTTP_11, &["a.example", "b.example"], Err("bad")),
            ("/", Version::HTTP_11, &["a.example, b.example"], Err("bad")),
            ("/", Version::HTTP_11, &["a.example/x"], Err("bad")),
            ("/", Version::HTTP_11, &[""], Err("bad")),
        ] {
            assert_eq!(settled(uri, version, hosts), expected.map(str::to_owned), "{uri} {version:?} {hosts:?}");
        }
    }

    #[test]
    fn connection_names_nothing_that_is_relied_on() {
        let ours = "Host, content-length,X-Forwarded-For, Forwarded, K-Proxy-Request, knative-serving-revision, x-mine";
        for (connection, expected) in [
            (
                &[ours][..],
                "content-length forwarded host k-proxy-request knative-serving-revision x-forwarded-for x-other",
            ),
            (
                &["close", "x-mine, x-other"],
                "content-length forwarded host k-proxy-request knative-serving-revision x-forwarded-for",
            ),
            (
                &["close", ours],
                "content-length forwarded host k-proxy-request knative-serving-revision x-forwarded-for x-other",
            ),
            (
                &["keep-alive"],
                "content-length forwarded host k-proxy-request knative-serving-revision x-forwarded-for x-mine x-other",
            ),
            (
                &["Upgrade, host"],
                "connection content-length forwarded host k-proxy-request knative-serving-revision upgrade x-forwarded-for x-mine x-other",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for name in ["host", "content-length", "forwarded", "x-forwarded-for", "x-mine", "x-other"] {
                headers.insert(name, HeaderValue::from_static("1"));
            }
            headers.insert(PROXY, HeaderValue::from_static("activator"));
            headers.insert(REVISION, HeaderValue::from_static("a"));
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            for line in connection {
                headers.append(CONNECTION, HeaderValue::from_static(line));
            }
            remove_hop_by_hop(&mut headers);
            let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left.join(" "), expected, "{connection:?}");
        }
    }

    #[test]
    fn the_host_is_in_the_header_or_in_the_uri() {
        let mut request = Request::new(Body::empty());
        assert_eq!(host(&request), None);
        *request.uri_mut() = "http://a.example:80/x".parse().unwrap();
        assert_eq!(host(&request), Some("a.example:80"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("b"));
        assert_eq!(host(&request), Some("b"));
    }
}

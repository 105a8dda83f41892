//! The headers by which the parts of the request path speak to each other, and short answers.
//!
//! Names and values are those of `knative_apis::meta::header`, in the form that lookups are cheapest in.

use base_net::{Body, Request, Response};
use http::header::{CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
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

/// The host that the client asks for, with its port if it says one. HTTP/2 says it in the URI.
pub(crate) fn host(request: &Request) -> Option<&str> {
    let authority = || request.uri().authority().map(http::uri::Authority::as_str);
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).or_else(authority)
}

/// The value of a header, if it is text.
pub(crate) fn value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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
    fn the_host_is_in_the_header_or_in_the_uri() {
        let mut request = Request::new(Body::empty());
        assert_eq!(host(&request), None);
        *request.uri_mut() = "http://a.example:80/x".parse().unwrap();
        assert_eq!(host(&request), Some("a.example:80"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("b"));
        assert_eq!(host(&request), Some("b"));
    }
}

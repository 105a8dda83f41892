//! Which protocol a client wants to go on with, and the answer that agrees.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http::body::Body;
use crate::http::respond;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const FORWARD: &str = "portforward.k8s.io";
const FORWARD_IN_WEBSOCKET: &str = "SPDY/3.1+portforward.k8s.io";
const SPDY: &str = "SPDY/3.1";
const WEBSOCKETS: &[&str] = &[V5, V4, FORWARD_IN_WEBSOCKET];

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A program's input and output.
    Command,
    /// Connections to ports.
    Forward,
}

/// What is spoken from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Websocket messages that begin with a channel's number; `has_close` if one of them says that a channel ends.
    Channels { has_close: bool },
    /// SPDY in websocket messages.
    Tunnel,
    /// SPDY.
    Spdy,
}

/// What a kubelet answers instead of an upgrade.
#[derive(Debug)]
pub(super) struct Refused {
    code: u16,
    why: String,
    /// The protocols that would have been accepted.
    accepted: &'static [&'static str],
}

impl Refused {
    pub(super) fn new(code: u16, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), accepted: &[] }
    }

    fn disagree(offered: &[&str], accepted: &'static [&'static str]) -> Self {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            accepted.join(" ")
        );
        Self { code: 403, why, accepted }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = respond::response(self.code, "text/plain; charset=utf-8", self.why);
        for name in self.accepted {
            response.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
        }
        response
    }
}

/// Whether a client wants to go on with something that can be agreed on.
pub(super) fn is_wanted(parts: &Parts) -> bool {
    has_word(&parts.headers, &CONNECTION, "upgrade")
        && (is_websocket(parts) || has_word(&parts.headers, &UPGRADE, SPDY))
}

fn is_websocket(parts: &Parts) -> bool {
    has_word(&parts.headers, &UPGRADE, "websocket") && parts.method == Method::GET
}

/// Agrees on a protocol, and on the answer that says so.
pub(super) fn negotiate(parts: &Parts, purpose: Purpose) -> Result<(Protocol, Response<Body>), Refused> {
    if is_websocket(parts) { websocket(&parts.headers, purpose) } else { spdy(&parts.headers, purpose) }
}

fn websocket(headers: &HeaderMap, purpose: Purpose) -> Result<(Protocol, Response<Body>), Refused> {
    let key = headers.get(&WEBSOCKET_KEY).filter(|_| has_word(headers, &WEBSOCKET_VERSION, "13"));
    let Some(key) = key else { return Err(Refused::new(400, "unable to upgrade: no websocket of version 13")) };
    let find = |offered: &str| match (offered, purpose) {
        (V5, _) => Some((V5, Protocol::Channels { has_close: true })),
        (V4, _) => Some((V4, Protocol::Channels { has_close: false })),
        (FORWARD_IN_WEBSOCKET, Purpose::Forward) => Some((FORWARD_IN_WEBSOCKET, Protocol::Tunnel)),
        _ => None,
    };
    let offered = words(headers, &WEBSOCKET_PROTOCOL);
    let Some((name, protocol)) = offered.iter().find_map(|offered| find(offered)) else {
        return Err(Refused::disagree(&offered, WEBSOCKETS));
    };
    let mut response = switching("websocket");
    let headers = response.headers_mut();
    // It is in base64.
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(WEBSOCKET_ACCEPT, accept);
    }
    headers.insert(WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    Ok((protocol, response))
}

fn spdy(headers: &HeaderMap, purpose: Purpose) -> Result<(Protocol, Response<Body>), Refused> {
    let known: &'static [&'static str] = match purpose {
        Purpose::Command => &[V5, V4],
        Purpose::Forward => &[FORWARD],
    };
    let offered = words(headers, &STREAM_PROTOCOL);
    if offered.is_empty() {
        return Err(Refused::new(400, "unable to upgrade: X-Stream-Protocol-Version is required"));
    }
    let Some(name) = offered.iter().find_map(|offered| known.iter().find(|known| *known == offered)) else {
        return Err(Refused::disagree(&offered, known));
    };
    let mut response = switching(SPDY);
    response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok((Protocol::Spdy, response))
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    response
}

/// The words of a header, which may come several times and have lists.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).iter().any(|found| found.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn agreed(method: Method, purpose: Purpose, headers: &[(&str, &str)]) -> Result<(Protocol, String), u16> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        if !is_wanted(&parts) {
            return Err(0);
        }
        let text = |response: &Response<Body>, name| response.headers()[name].to_str().unwrap().to_owned();
        match negotiate(&parts, purpose) {
            Ok((Protocol::Spdy, response)) => Ok((Protocol::Spdy, text(&response, "x-stream-protocol-version"))),
            Ok((protocol, response)) => Ok((protocol, text(&response, "sec-websocket-protocol"))),
            Err(refused) => Err(refused.into_response().status().as_u16()),
        }
    }

    #[test]
    fn clients_get_the_first_protocol_that_both_know() {
        let websocket = |purpose, offered: &str| {
            let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            let version = ("sec-websocket-version", "13");
            let offered = ("sec-websocket-protocol", offered);
            let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), key, version, offered];
            agreed(Method::GET, purpose, &upgrade)
        };
        let channels = |has_close| Protocol::Channels { has_close };
        assert_eq!(websocket(Purpose::Command, V5), Ok((channels(true), V5.to_owned())));
        assert_eq!(websocket(Purpose::Command, "x,v4.channel.k8s.io"), Ok((channels(false), V4.to_owned())));
        let tunnel = Ok((Protocol::Tunnel, FORWARD_IN_WEBSOCKET.to_owned()));
        assert_eq!(websocket(Purpose::Forward, FORWARD_IN_WEBSOCKET), tunnel);
        assert_eq!(websocket(Purpose::Command, FORWARD_IN_WEBSOCKET), Err(403));
        let spdy = |purpose, offered| {
            let upgrade = [("connection", "Upgrade"), ("upgrade", SPDY), ("x-stream-protocol-version", offered)];
            agreed(Method::POST, purpose, &upgrade)
        };
        assert_eq!(spdy(Purpose::Command, "v4.channel.k8s.io, v3.channel.k8s.io"), Ok((Protocol::Spdy, V4.to_owned())));
        assert_eq!(spdy(Purpose::Forward, FORWARD), Ok((Protocol::Spdy, FORWARD.to_owned())));
        assert_eq!(spdy(Purpose::Forward, V5), Err(403));
        assert_eq!(spdy(Purpose::Command, ""), Err(400));
        assert_eq!(agreed(Method::GET, Purpose::Command, &[]), Err(0));
        assert_eq!(
            agreed(Method::POST, Purpose::Command, &[("connection", "Upgrade"), ("upgrade", "websocket")]),
            Err(0)
        );
    }
}

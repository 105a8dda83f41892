//! Health probes as a kubelet makes them: HTTP, TCP, gRPC.
//!
//! A probe is one attempt with one time bound over a connection of its own. When to probe, and how many failures count, is the caller's.

use std::fmt;
use std::time::Duration;

use base_rt::Tasks;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;

use crate::body::{Body, BodyError, Request};
use crate::connect::{Connector, DialError, Protocol, Target};
use crate::tasks::StreamTasks;

/// Bytes of an HTTP answer that are read at most.
const MAX_BODY: usize = 10 * 1024;
/// Bytes of a gRPC health answer that are read at most: it says a number.
const MAX_HEALTH: usize = 1024;
/// `SERVING` in `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;

/// What to try.
pub enum Probe {
    /// A GET that has to be answered with a status from 200 to 399.
    Http(HttpProbe),
    /// A connection that has to come about.
    Tcp(Target),
    /// A `grpc.health.v1.Health/Check` that has to say `SERVING`.
    Grpc {
        /// Whom to ask. Its protocol is HTTP/2 in any case.
        target: Target,
        /// The service to ask about; empty for the server as a whole.
        service: String,
    },
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(probe) => write!(f, "http {}{}", probe.target, probe.path),
            Self::Tcp(target) => write!(f, "tcp {target}"),
            Self::Grpc { target, service } => write!(f, "grpc {target} {service:?}"),
        }
    }
}

/// An HTTP probe.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// Whom to ask, by HTTP/1.1, with TLS or without.
    pub target: Target,
    /// The path, with its query.
    pub path: String,
    /// Further headers; a `Host` among them takes the place of the target's address.
    pub headers: HeaderMap,
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed, or the answer was no HTTP.
    #[error("the exchange failed")]
    Exchange(#[from] hyper::Error),
    /// The answer could not be read.
    #[error("the answer could not be read")]
    Body(#[from] BodyError),
    /// The probe itself is no request.
    #[error("the probe is no request")]
    Request(#[from] http::Error),
    /// An answer that says no.
    #[error("HTTP probe failed with statuscode: {}", .0.as_u16())]
    Status(StatusCode),
    /// A gRPC answer that says no.
    #[error("service unhealthy (responded with {0:?})")]
    Unhealthy(String),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl Probe {
    /// Tries once, over `connector`. An HTTP/2 connection's streams are tasks of `tasks`, and end with it.
    ///
    /// # Errors
    /// It failed, or took longer than `timeout`.
    pub async fn run(&self, connector: &Connector, tasks: &Tasks, timeout: Duration) -> Result<(), ProbeError> {
        let probing = async {
            match self {
                Self::Http(probe) => http(connector, probe).await,
                Self::Tcp(target) => Ok(connector.dial(target).await.map(drop)?),
                Self::Grpc { target, service } => grpc(connector, tasks, (target, service)).await,
            }
        };
        tokio::time::timeout(timeout, probing).await.unwrap_or(Err(ProbeError::Timeout(timeout)))
    }
}

async fn http(connector: &Connector, probe: &HttpProbe) -> Result<(), ProbeError> {
    let path = if probe.path.starts_with('/') { probe.path.clone() } else { format!("/{}", probe.path) };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(http::Error::from)?;
    let headers = request.headers_mut();
    headers.clone_from(&probe.headers);
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::try_from(probe.target.to_string()).map_err(http::Error::from)?);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/kwick"));
    let target = Target { protocol: Protocol::Http1, ..probe.target.clone() };
    let io = connector.dial(&target).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let asking = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // A server that is cut off while it answers may count that as an error; one that answers at length is.
        let _ = Body::from(response.into_body()).read(MAX_BODY).await;
        if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(ProbeError::Status(status)) }
    };
    beside(connection, asking).await
}

/// Runs `asking` while `connection` is driven; no task is left behind.
async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    asking: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    tokio::pin!(connection);
    tokio::pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        // The end of the connection is told to who asks on it.
        _ended = &mut connection => asking.await,
    }
}

async fn grpc(connector: &Connector, tasks: &Tasks, (target, service): (&Target, &str)) -> Result<(), ProbeError> {
    let target = Target { protocol: Protocol::Http2, ..target.clone() };
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{target}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Body::from(health_request(service)))?;
    let io = connector.dial(&target).await?;
    let (mut sender, connection) =
        http2::Builder::new(StreamTasks::new("probe/grpc", tasks)).handshake(TokioIo::new(io)).await?;
    let asking = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(ProbeError::Status(response.status()));
        }
        let failed =
            response.headers().get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        let answer = Body::from(response.into_body()).read(MAX_HEALTH).await?;
        match serving_status(&answer) {
            Some(SERVING) => Ok(()),
            Some(status) => Err(ProbeError::Unhealthy(status_name(status).to_owned())),
            None => Err(ProbeError::Unhealthy(failed.unwrap_or_else(|| "no status".to_owned()))),
        }
    };
    beside(connection, asking).await
}

/// A `HealthCheckRequest` (one string, field 1) in a gRPC frame.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.unsplit(message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

/// The status in a framed `HealthCheckResponse` (one enum, field 1; absent is 0). None if it is none.
fn serving_status(frame: &[u8]) -> Option<u8> {
    let (head, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(head.get(1..)?.try_into().ok()?);
    match (head.first()?, message) {
        (0, []) if length == 0 => Some(0),
        (0, [0x08, status, ..]) if length >= 2 => Some(*status),
        _ => None,
    }
}

fn status_name(status: u8) -> &'static str {
    match status {
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages() {
        assert_eq!(health_request(""), &[0, 0, 0, 0, 0][..]);
        assert_eq!(health_request("ab"), &[0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b'][..]);
        let long = health_request(&"x".repeat(300));
        assert_eq!(long.get(..8), Some(&[0, 0, 0, 1, 47, 0x0a, 0xac, 2][..]));
        let rows: [(&[u8], Option<u8>); 5] = [
            (&[0, 0, 0, 0, 2, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0], None),
        ];
        for (frame, expected) in rows {
            assert_eq!(serving_status(frame), expected, "{frame:?}");
        }
    }
}

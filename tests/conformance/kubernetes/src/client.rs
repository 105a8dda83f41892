//! A client that shows what is on the wire: one connection for requests one after another, and one for every watch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base_rt::Tasks;
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the next event of a watch may take that is known to come.
const EVENT_WITHIN: Duration = Duration::from_secs(10);
/// Both servers name the field manager after it where a request does not.
const USER_AGENT: &str = "conformance/1.0";

/// Where a server is and how to be its administrator.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) tasks: Tasks,
}

/// A request, complete.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) warnings: Vec<String>,
    /// JSON, or a text as a string.
    pub(crate) body: Value,
}

/// Asks one thing after another.
pub(crate) struct Client {
    endpoint: Endpoint,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An open watch.
pub(crate) struct Watch {
    body: Incoming,
    buffer: BytesMut,
    _connection: SendRequest<Full<Bytes>>,
}

impl Endpoint {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let socket = TcpStream::connect(self.address).await.context("connect")?;
        socket.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await.context("TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn_transient("conformance/connection", async move {
            // How a connection ends is seen by whoever uses it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn request(&self, wire: &Wire) -> Result<Request<Full<Bytes>>> {
        let mut builder = Request::builder().method(wire.method).uri(&wire.path);
        builder = builder.header("host", self.address.to_string()).header("user-agent", USER_AGENT);
        builder =
            builder.header("authorization", format!("Bearer {}", self.token)).header("accept", "application/json");
        if !wire.content_type.is_empty() {
            builder = builder.header("content-type", wire.content_type);
        }
        let body = wire.body.clone().unwrap_or_default();
        Ok(builder.body(Full::new(Bytes::from(body)))?)
    }

    /// Opens a watch; an answer that is no stream comes back as it is.
    pub(crate) async fn watch(&self, wire: &Wire) -> Result<(Answer, Option<Watch>)> {
        let mut connection = self.connect().await?;
        let response = tokio::time::timeout(ANSWER_WITHIN, connection.send_request(self.request(wire)?)).await??;
        let (parts, body) = response.into_parts();
        let head = Answer::head(&parts);
        if head.status == 200 {
            return Ok((head, Some(Watch { body, buffer: BytesMut::new(), _connection: connection })));
        }
        Ok((head.with_body(&body.collect().await?.to_bytes()), None))
    }
}

impl Client {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, connection: None }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, wire: &Wire) -> Result<Answer> {
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.answer(wire)).await;
        answered.context("no answer").flatten().with_context(|| format!("{} {}", wire.method, wire.path))
    }

    async fn answer(&mut self, wire: &Wire) -> Result<Answer> {
        let mut open = self.connection.take();
        if let Some(connection) = &mut open
            && connection.ready().await.is_err()
        {
            open = None;
        }
        let mut connection = match open {
            Some(connection) => connection,
            None => self.endpoint.connect().await?,
        };
        let response = match connection.send_request(self.endpoint.request(wire)?).await {
            // A server in which answering panics closes the connection. That is what it answers; one that has ended takes no next connection.
            Err(error) if error.is_incomplete_message() => return Ok(Answer::nothing()),
            response => response?,
        };
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok(Answer::head(&parts).with_body(&bytes))
    }
}

impl Answer {
    /// The connection was closed.
    fn nothing() -> Self {
        Self { status: 0, content_type: String::new(), warnings: Vec::new(), body: Value::from("no answer") }
    }

    fn head(parts: &http::response::Parts) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            status: parts.status.as_u16(),
            content_type: parts.headers.get("content-type").map(text).unwrap_or_default(),
            warnings: parts.headers.get_all("warning").iter().map(text).collect(),
            body: Value::Null,
        }
    }

    fn with_body(self, bytes: &[u8]) -> Self {
        let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
        Self { body: serde_json::from_slice(bytes).unwrap_or_else(|_| text()), ..self }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Watch {
    /// The next event; an error when there is none in time, or the stream ends.
    pub(crate) async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).context("an event that is no JSON");
            }
            let frame = tokio::time::timeout(EVENT_WITHIN, self.body.frame()).await.context("no event came")?;
            let Some(frame) = frame else { bail!("the stream ended") };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

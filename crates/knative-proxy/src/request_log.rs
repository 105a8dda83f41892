//! One line per request, as the operator's template says, once its response is over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base_net::serve::{Peer, TlsPeer};
use base_net::{Body, BodyError, Request, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Version};
use http_body::{Frame, SizeHint};
use knative_apis::config::Observability;
use knative_apis::meta::Key;
use knative_apis::template::{Fields, Template, Value};
use tokio::time::Instant;

use crate::{headers, queue};

/// Where lines for a container's log go.
pub trait LogSink: Send + Sync {
    /// Takes whole lines, each with its line feed. Must not block.
    fn write(&self, lines: &[u8]);
}

impl<F: Fn(&[u8]) + Send + Sync> LogSink for F {
    fn write(&self, lines: &[u8]) {
        self(lines);
    }
}

/// What the operator says about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestLogConfig {
    pub(crate) is_enabled: bool,
    pub(crate) template: String,
    pub(crate) logs_probes: bool,
}

impl From<&queue::Observability> for RequestLogConfig {
    fn from(told: &queue::Observability) -> Self {
        let (template, logs_probes) = (told.request_log_template.clone(), told.enable_probe_request_log);
        Self { is_enabled: told.enable_request_log, template, logs_probes }
    }
}

impl From<&Observability> for RequestLogConfig {
    fn from(config: &Observability) -> Self {
        let (template, logs_probes) = (config.request_log_template.clone(), config.enable_probe_request_log);
        Self { is_enabled: config.enable_request_log, template, logs_probes }
    }
}

/// Whose request it is (what a template asks for as `.Revision`), and whose log.
pub(crate) struct Subject {
    pub(crate) revision: Key,
    pub(crate) service: String,
    pub(crate) configuration: String,
    /// The Pod that answers.
    pub(crate) pod: String,
    pub(crate) pod_ip: Option<IpAddr>,
    pub(crate) sink: Arc<dyn LogSink>,
}

/// Logs requests.
#[derive(Clone)]
pub(crate) struct RequestLog(Arc<Shared>);

struct Shared {
    template: Template,
    logs_probes: bool,
}

/// What is known of a request when it comes.
struct Line {
    log: RequestLog,
    subject: Arc<Subject>,
    peer: Option<Arc<Peer>>,
    begun: Instant,
    method: Method,
    uri: String,
    host: String,
    proto: Version,
    fields: HeaderMap,
    status: u16,
    size: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        match self.log.0.template.execute(self) {
            Ok(mut line) => {
                line.push('\n');
                self.subject.sink.write(line.as_bytes());
            }
            Err(error) => tracing::warn!(%error, "a request could not be logged"),
        }
    }
}

impl RequestLog {
    /// None if requests are not to be logged.
    pub(crate) fn new(config: &RequestLogConfig) -> Option<Self> {
        let RequestLogConfig { is_enabled, template, logs_probes } = config;
        if !is_enabled || template.is_empty() {
            return None;
        }
        match Template::parse("requestLog", template) {
            Ok(template) => Some(Self(Arc::new(Shared { template, logs_probes: *logs_probes }))),
            Err(error) => {
                tracing::warn!(error = %error, "requests are not logged");
                None
            }
        }
    }

    /// The response that `answering` makes of `request`, which is logged once it is over.
    pub(crate) async fn around<F>(
        self,
        (request, peer): (Request, Option<Arc<Peer>>),
        subject: Arc<Subject>,
        answering: impl FnOnce(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        if !self.0.logs_probes && headers::is_health_probe(request.headers()) {
            return answering(request).await;
        }
        let mut line = Line {
            log: self,
            subject,
            peer,
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            host: headers::host(&request).unwrap_or_default().to_owned(),
            proto: request.version(),
            fields: request.headers().clone(),
            status: 0,
            size: 0,
        };
        let response = answering(request).await;
        line.status = response.status().as_u16();
        response.map(|body| Body::wrap(Measured { body, line }))
    }
}

struct Measured {
    body: Body,
    line: Line,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.line.size += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Fields for Line {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["Request", name] => self.request_field(name),
            ["Response", "Code"] => Some(Value::Number(i64::from(self.status))),
            ["Response", "Size"] => Some(Value::Number(i64::try_from(self.size).unwrap_or(i64::MAX))),
            ["Response", "Latency"] => Some(Value::Float(self.begun.elapsed().as_secs_f64())),
            ["Revision", name] => self.revision_field(name),
            ["TraceID"] => Some(Value::from(self.trace_id())),
            _ => None,
        }
    }
}

/// The fields by their names as Go writes them: a template asks for `X-B3-Traceid`.
fn lists(fields: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        let parts = name.as_str().split('-').map(|part| {
            let (first, rest) = part.split_at(part.len().min(1));
            first.to_ascii_uppercase() + rest
        });
        let values = lists.entry(parts.collect::<Vec<_>>().join("-")).or_default();
        values.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    lists
}

/// What TLS knows of a connection, as Go prints it: version, whether the handshake is done and was a resumption, cipher suite, protocol, whether
/// both agreed on it, the name that was asked for, and lists of which those that are kept are always empty.
fn state(tls: &TlsPeer) -> Cow<'static, str> {
    let TlsPeer { version, cipher_suite, protocol, server_name, .. } = tls;
    let server_name = server_name.as_deref().unwrap_or_default();
    format!("{{{version} true false {cipher_suite} {protocol} true {server_name} [] [] [] [] []}}").into()
}

impl Line {
    fn request_field(&self, name: &str) -> Option<Value<'_>> {
        let header = |name| Value::from(headers::value(&self.fields, &name).unwrap_or_default());
        Some(match name {
            "Method" => Value::from(self.method.as_str()),
            "RequestURI" => Value::from(self.uri.as_str()),
            "Host" => Value::from(self.host.as_str()),
            "RemoteAddr" => {
                let remote = self.peer.as_ref().and_then(|peer| peer.remote);
                Value::Text(remote.map(|remote| remote.to_string()).unwrap_or_default().into())
            }
            "TLS" => Value::Text(self.peer.as_ref().and_then(|peer| peer.tls.as_ref()).map_or("<nil>".into(), state)),
            "UserAgent" => header(USER_AGENT),
            "Referer" => header(REFERER),
            "ContentLength" => {
                let length = headers::value(&self.fields, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
                Value::Number(length.unwrap_or_default())
            }
            "Header" => Value::Lists(lists(&self.fields)),
            "Proto" => Value::from(match self.proto {
                Version::HTTP_2 => "HTTP/2.0",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            }),
            _ => return None,
        })
    }

    /// The second part of `traceparent`.
    fn trace_id(&self) -> &str {
        let parent = self.fields.get("traceparent").and_then(|parent| parent.to_str().ok());
        parent.and_then(|parent| parent.split('-').nth(1)).unwrap_or_default()
    }

    fn revision_field(&self, name: &str) -> Option<Value<'_>> {
        let subject = &self.subject;
        Some(match name {
            "Name" => Value::from(subject.revision.name.as_str()),
            "Namespace" => Value::from(subject.revision.namespace.as_str()),
            "Service" => Value::from(subject.service.as_str()),
            "Configuration" => Value::from(subject.configuration.as_str()),
            "PodName" => Value::from(subject.pod.as_str()),
            "PodIP" => Value::Text(subject.pod_ip.map(|ip| ip.to_string()).unwrap_or_default().into()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn tls_is_printed_as_by_go() {
        let tls = TlsPeer {
            server_name: Some("kn-routing".to_owned()),
            version: 0x0304,
            cipher_suite: 0x1301,
            protocol: "h2".to_owned(),
            ..TlsPeer::default()
        };
        assert_eq!(state(&tls), "{772 true false 4865 h2 true kn-routing [] [] [] [] []}");
    }

    #[test]
    fn fields_are_called_as_in_go() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("x-b3-traceid", "1"), ("accept", "a"), ("accept", "b"), ("a--b", "")] {
            fields.append(HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        let shown = lists(&fields).into_iter().map(|(name, values)| format!("{name}={}", values.join(",")));
        assert_eq!(shown.collect::<Vec<_>>(), ["A--B=", "Accept=a,b", "X-B3-Traceid=1"]);
    }
}

//! One line per request, as the operator's template says, once its response is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base_net::{Body, BodyError, Request, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Version};
use http_body::{Frame, SizeHint};
use knative_apis::template::{Fields, Template, Value};
use tokio::time::Instant;

use super::LogSink;
use super::config::Config;
use crate::headers;

/// Logs requests.
#[derive(Clone)]
pub(super) struct RequestLog(Arc<Shared>);

struct Shared {
    template: Template,
    logs_probes: bool,
    config: Config,
    sink: Arc<dyn LogSink>,
}

/// What is known of a request when it comes.
struct Line {
    log: RequestLog,
    begun: Instant,
    method: Method,
    uri: String,
    host: String,
    proto: Version,
    remote: String,
    fields: HeaderMap,
    status: u16,
    size: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        match self.log.0.template.execute(self) {
            Ok(mut line) => {
                line.push('\n');
                self.log.0.sink.write(line.as_bytes());
            }
            Err(error) => tracing::warn!(%error, "a request could not be logged"),
        }
    }
}

impl RequestLog {
    /// None if requests are not to be logged.
    pub(super) fn new(config: &Config, sink: &Arc<dyn LogSink>) -> Option<Self> {
        let observability = &config.observability;
        if !observability.enable_request_log || observability.request_log_template.is_empty() {
            return None;
        }
        match Template::parse("requestLog", &observability.request_log_template) {
            Ok(template) => Some(Self(Arc::new(Shared {
                template,
                logs_probes: observability.enable_probe_request_log,
                config: config.clone(),
                sink: Arc::clone(sink),
            }))),
            Err(error) => {
                tracing::warn!(error = %error, "requests are not logged");
                None
            }
        }
    }

    /// The response that `answering` makes of `request`, which is logged once it is over.
    pub(super) async fn around<F>(
        self,
        (request, remote): (Request, Option<SocketAddr>),
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
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            host: headers::host(&request).unwrap_or_default().to_owned(),
            proto: request.version(),
            remote: remote.map(|remote| remote.to_string()).unwrap_or_default(),
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

impl Line {
    fn request_field(&self, name: &str) -> Option<Value<'_>> {
        let header = |name| Value::from(headers::value(&self.fields, &name).unwrap_or_default());
        Some(match name {
            "Method" => Value::from(self.method.as_str()),
            "RequestURI" => Value::from(self.uri.as_str()),
            "Host" => Value::from(self.host.as_str()),
            "RemoteAddr" => Value::from(self.remote.as_str()),
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
        let config = &self.log.0.config;
        Some(match name {
            "Name" => Value::from(config.revision.name.as_str()),
            "Namespace" => Value::from(config.revision.namespace.as_str()),
            "Service" => Value::from(config.service.as_str()),
            "Configuration" => Value::from(config.configuration.as_str()),
            "PodName" => Value::from(config.pod.as_str()),
            "PodIP" => Value::Text(config.pod_ip.map(|ip| ip.to_string()).unwrap_or_default().into()),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

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

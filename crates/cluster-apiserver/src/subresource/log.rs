//! The `log` subresource of Pods. The node has the logs; it hands in a [`PodLogs`].

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use serde_json::Value;

use crate::http::body::{Body, BodyError};
use crate::http::limits::Ticket;
use crate::http::query::Query;
use crate::http::respond;
use crate::status::{Result, StatusError};
use crate::store::ObjectKey;
use crate::value::{list_at, str_at};
use crate::verbs::Ask;

/// Which part of a container's log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// The container; always the name of one that the Pod has.
    pub container: String,
    /// Whether what is still to come is wanted too.
    pub is_follow: bool,
    /// Whether the container before the last restart is meant.
    pub is_previous: bool,
    /// Whether each line begins with its time.
    pub has_timestamps: bool,
    /// Only lines that are at most so old, in seconds.
    pub since_s: Option<i64>,
    /// Only lines from this time on.
    pub since_time: Option<jiff::Timestamp>,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why a log cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The container has not started; the text says why.
    #[error("{0}")]
    NotStarted(String),
    /// There is no such log.
    #[error("{0}")]
    NotFound(String),
    /// The node failed.
    #[error("{0}")]
    Failed(String),
}

/// A log, as it comes.
pub type LogStream = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, BodyError>> + Send>>;
/// A log that is being opened.
pub type LogFuture = Pin<Box<dyn Future<Output = std::result::Result<LogStream, LogError>> + Send>>;

/// Knows the logs of Pods.
pub trait PodLogs: Send + Sync {
    /// Opens the log of a container of a Pod that is bound to a node.
    fn open(&self, namespace: &str, pod: &str, options: LogOptions) -> LogFuture;
}

pub(crate) async fn answer(ask: Ask, ticket: Option<Ticket>) -> Result<Response<Body>> {
    let key = ObjectKey::new(&ask.namespace, &ask.name);
    let stored = ask.core.store.get(&ask.resource.table, &key).ok_or_else(|| ask.resource.not_found(&ask.name))?;
    let pod = ask.resource.load(&stored)?;
    let container = container(&pod, &ask.name, ask.query.text("container"))?;
    let options = options(&ask.query, container)?;
    if str_at(&pod, &["spec", "nodeName"]).is_empty() {
        // Nothing has run, so there is nothing to read.
        let mut response = respond::response(204, "text/plain", Body::empty());
        response.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(response);
    }
    let Some(logs) = &ask.core.logs else {
        return Err(StatusError::not_implemented("this server has no node that keeps logs"));
    };
    let stream = logs.open(&ask.namespace, &ask.name, options).await.map_err(|error| match error {
        LogError::NotStarted(why) => StatusError::bad_request(why),
        LogError::NotFound(why) => StatusError::new(404, "NotFound", why),
        LogError::Failed(why) => StatusError::internal(&why),
    })?;
    // The ticket counts as long as the stream lives.
    let stream = stream.map(move |item| {
        let _ = &ticket;
        item
    });
    Ok(respond::response(200, "text/plain", Body::stream(stream)))
}

/// The container that is meant.
fn container(pod: &Value, name: &str, asked: &str) -> Result<String> {
    let names = |list: &str| list_at(pod, &["spec", list]).iter().map(|c| str_at(c, &["name"])).collect::<Vec<_>>();
    let (containers, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !asked.is_empty() {
        let is_known = [&containers, &init, &ephemeral].iter().any(|names| names.contains(&asked));
        return match is_known {
            true => Ok(asked.to_owned()),
            false => Err(StatusError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    match (containers.as_slice(), init.is_empty()) {
        ([only], _) => Ok((*only).to_owned()),
        ([], _) => Err(StatusError::bad_request(format!("a container name must be specified for pod {name}"))),
        (several, has_no_init) => {
            let mut choose =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", several.join(" "));
            if !has_no_init {
                choose.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(StatusError::bad_request(choose))
        }
    }
}

fn options(query: &Query, container: String) -> Result<LogOptions> {
    let count = |name: &str| -> Result<Option<u64>> {
        match query.number(name)? {
            None => Ok(None),
            Some(number) => u64::try_from(number)
                .map(Some)
                .map_err(|_| StatusError::bad_request(format!("{name} must be greater than or equal to 0"))),
        }
    };
    let since_time = match query.text("sinceTime") {
        "" => None,
        text => Some(text.parse().map_err(|_| StatusError::bad_request("sinceTime is not a time"))?),
    };
    Ok(LogOptions {
        container,
        is_follow: query.flag("follow"),
        is_previous: query.flag("previous"),
        has_timestamps: query.flag("timestamps"),
        since_s: query.number("sinceSeconds")?,
        since_time,
        tail_lines: count("tailLines")?,
        limit_bytes: count("limitBytes")?,
    })
}

//! Hands the node's logs to the API server, which is there before the node is.

use std::sync::OnceLock;

use bytes::Bytes;
use cluster_apiserver::http::body::BodyError;
use cluster_apiserver::{LogError, LogFuture, LogOptions, LogStream};
use cluster_workloads::node::{self, Node};
use futures::StreamExt as _;

/// The logs of the Pods on this machine.
#[derive(Default)]
pub(super) struct PodLogs(OnceLock<Node>);

impl PodLogs {
    /// From now on there are logs.
    pub(super) fn set(&self, node: Node) {
        // There is one node.
        let _ = self.0.set(node);
    }
}

impl cluster_apiserver::PodLogs for PodLogs {
    fn open(&self, namespace: &str, pod: &str, options: LogOptions) -> LogFuture {
        let opened = match self.0.get() {
            Some(node) => node.logs(namespace, pod, translated(options)).map_err(refusal),
            None => Err(LogError::Failed("the node is starting; try again in a moment".to_owned())),
        };
        let stream = opened.map(|log| -> LogStream { Box::pin(log.map(Ok::<Bytes, BodyError>)) });
        Box::pin(std::future::ready(stream))
    }
}

fn translated(options: LogOptions) -> node::LogOptions {
    let LogOptions { container, is_follow, is_previous, has_timestamps, since_s, since_time, tail_lines, limit_bytes } =
        options;
    node::LogOptions { container, is_follow, is_previous, has_timestamps, since_s, since_time, tail_lines, limit_bytes }
}

fn refusal(error: node::LogError) -> LogError {
    match error {
        node::LogError::NotStarted(text) => LogError::NotStarted(text),
        node::LogError::NotFound(text) => LogError::NotFound(text),
        node::LogError::Failed(text) => LogError::Failed(text),
    }
}

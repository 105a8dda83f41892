//! Hands what can be done in the node's Pods to the API server, which is there before the node is.

use std::sync::{Arc, OnceLock};

use cluster_apiserver::{AttachOptions, Dialing, ExecOptions, PodPorts, PodSession, StartingSession};
use cluster_workloads::node::{self, Node};
use futures::{FutureExt as _, TryFutureExt as _};

/// The Pods on this machine.
#[derive(Default)]
pub(super) struct PodStreams(OnceLock<Node>);

impl PodStreams {
    /// From now on there are Pods.
    pub(super) fn set(&self, node: Node) {
        // There is one node.
        let _ = self.0.set(node);
    }

    fn node(&self) -> Result<&Node, String> {
        self.0.get().ok_or_else(|| "the node is starting; try again in a moment".to_owned())
    }
}

impl cluster_apiserver::PodStreams for PodStreams {
    fn exec(&self, namespace: &str, pod: &str, options: ExecOptions) -> Result<StartingSession, String> {
        let ExecOptions { container, command, has_stdin, has_terminal } = options;
        let options = node::ExecOptions { container, command, has_stdin, has_terminal };
        self.node()?.exec(namespace, pod, options).map(translated).map_err(|error| error.to_string())
    }

    fn attach(&self, namespace: &str, pod: &str, options: AttachOptions) -> Result<StartingSession, String> {
        let AttachOptions { container, has_stdin, has_terminal } = options;
        let options = node::AttachOptions { container, has_stdin, has_terminal };
        self.node()?.attach(namespace, pod, options).map(translated).map_err(|error| error.to_string())
    }

    fn ports(&self, namespace: &str, pod: &str) -> Result<Arc<dyn PodPorts>, String> {
        let ports = self.node()?.ports(namespace, pod).map_err(|error| error.to_string())?;
        Ok(Arc::new(Ports(ports)))
    }
}

fn translated(starting: node::Starting) -> StartingSession {
    let session = |session| {
        let node::Session { stdin, stdout, stderr, resize, ended } = session;
        PodSession { stdin, stdout, stderr, resize, ended }
    };
    starting.map_ok(session).boxed()
}

struct Ports(node::PodPorts);

impl PodPorts for Ports {
    fn dial(&self, port: u16) -> Dialing {
        self.0.dial(port)
    }
}

//! Streams into Pods: the subresources `exec`, `attach` and `portforward`. The node has the Pods; it hands in a [`PodStreams`].
//!
//! ```text
//!              upgrade          wire: numbered channels          what goes over them
//! GET   ──► websocket, v4|v5.channel ──► websocket ─┐
//! POST  ──► SPDY/3.1 ───────────────────► spdy ─────┼─► command (exec, attach) ─► PodSession
//! GET   ──► websocket, SPDY in it ──► tunnel ► spdy ┘   forward ───────────────► PodPorts
//! ```
//! Current clients use websockets: kubectl from 1.30 on for exec and attach, from 1.31 on for port-forward, which goes as SPDY through one.
//! Older ones, and some libraries, use SPDY itself.
//!
//! What is refused before the upgrade is answered as kube-apiserver does it (a `Status`), or, where that only passes on what a kubelet says,
//! as a kubelet does it (a text). What fails after it comes as a `Status` over the error channel.
//!
//! # Bounds
//! So many sessions at once ([`MAX_SESSIONS`](crate::http::limits::MAX_SESSIONS)), each with queues of few chunks: who does not read stops
//! the program that writes. A session over which nothing goes for four hours ends, as kubelets have it; so does every session when this
//! process ends.

mod command;
mod forward;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod idle;
mod spdy;
mod upgrade;
mod websocket;
mod wire;

use std::pin::Pin;
use std::sync::Arc;

use base_rt::Phase;
use bytes::Bytes;
use futures::Stream;
use http::Response;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::audit::{Closing, Trail};
use crate::authz::Attributes;
use crate::core::Core;
use crate::http::body::Body;
use crate::http::limits::Ticket;
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::store::ObjectKey;
use crate::value::{list_at, str_at};
use crate::verbs::Ask;
use command::Wanted;
use upgrade::{Protocol, Purpose, Refused};

/// What to run, and in which container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container; always the name of one that the Pod has.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it is written to.
    pub has_stdin: bool,
    /// Whether its input and output are a terminal.
    pub has_terminal: bool,
}

/// Which container to attach to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// The container; always the name of one that the Pod has.
    pub container: String,
    /// Whether it is written to.
    pub has_stdin: bool,
    /// Whether it is expected to have a terminal.
    pub has_terminal: bool,
}

/// What a program writes, as it comes.
pub type OutputStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A conversation with a program. Dropping it ends a program that was started for it.
pub struct PodSession {
    /// Writes to it; its shutdown is the end of its input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes.
    pub stdout: OutputStream,
    /// What it writes to its standard error, unless that is the same.
    pub stderr: Option<OutputStream>,
    /// Takes the size of its terminal, in columns and rows.
    pub resize: Option<Box<dyn Fn(u16, u16) + Send + Sync>>,
    /// Its exit code once it has ended, or why that is not known.
    pub ended: Pin<Box<dyn Future<Output = std::result::Result<i32, String>> + Send>>,
}

impl std::fmt::Debug for PodSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodSession").field("has_terminal", &self.resize.is_some()).finish_non_exhaustive()
    }
}

/// A conversation that is about to begin; the error says why it does not.
pub type StartingSession = Pin<Box<dyn Future<Output = std::result::Result<PodSession, String>> + Send>>;

/// A connection to a port that is being made; the error says why there is none.
pub type Dialing = Pin<Box<dyn Future<Output = std::result::Result<TcpStream, String>> + Send>>;

/// The ports of one Pod.
pub trait PodPorts: Send + Sync {
    /// Connects to one of them, as from within the Pod.
    fn dial(&self, port: u16) -> Dialing;
}

/// Knows the Pods that run. Errors are what a kubelet would say before it takes a connection.
pub trait PodStreams: Send + Sync {
    /// Runs a program in a container.
    ///
    /// # Errors
    /// The container does not run.
    fn exec(&self, namespace: &str, pod: &str, options: ExecOptions) -> std::result::Result<StartingSession, String>;

    /// Attaches to a container.
    ///
    /// # Errors
    /// The container does not run.
    fn attach(
        &self,
        namespace: &str,
        pod: &str,
        options: AttachOptions,
    ) -> std::result::Result<StartingSession, String>;

    /// The ports of a Pod.
    ///
    /// # Errors
    /// The Pod does not run.
    fn ports(&self, namespace: &str, pod: &str) -> std::result::Result<Arc<dyn PodPorts>, String>;
}

/// Whether requests for this are streams.
pub(crate) fn are(resource: &Resource, subresource: &str) -> bool {
    resource.is("", "pods") && matches!(subresource, "exec" | "attach" | "portforward")
}

/// What a session is about.
enum Session {
    Command { starting: StartingSession, wanted: Wanted },
    Forward { ports: Arc<dyn PodPorts>, asked: Vec<u16> },
}

/// What counts a session as long as it lasts, and records its end.
type Held = (Option<Ticket>, Option<Closing>);

/// Answers a request for a stream; the session that it begins has a task of its own.
pub(crate) async fn answer(ask: &Ask, ticket: Option<Ticket>, mut parts: Parts) -> Result<Response<Body>> {
    require_create(ask)?;
    let key = ObjectKey::new(&ask.namespace, &ask.name);
    let stored = ask.core.store.get(&ask.resource.table, &key).ok_or_else(|| ask.resource.not_found(&ask.name))?;
    let pod = ask.resource.load(&stored)?;
    let purpose = if ask.subresource == "portforward" { Purpose::Forward } else { Purpose::Command };
    let container = match purpose {
        Purpose::Command => container(&pod, &ask.name, ask.query.text("container"))?,
        Purpose::Forward => String::new(),
    };
    if str_at(&pod, &["spec", "nodeName"]).is_empty() {
        return Err(StatusError::bad_request(format!("pod {} does not have a host assigned", ask.name)));
    }
    admit(ask, &container).await?;
    let Some(streams) = &ask.core.streams else {
        return Err(StatusError::not_implemented("this server has no node that runs pods"));
    };
    let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>().filter(|_| upgrade::is_wanted(&parts)) else {
        return Err(StatusError::bad_request("Upgrade request required"));
    };
    let (protocol, response) = match upgrade::negotiate(&parts, purpose) {
        Ok(agreed) => agreed,
        Err(refused) => return Ok(refused.into_response()),
    };
    let session = match begin(ask, streams.as_ref(), container, protocol) {
        Ok(session) => session,
        Err(refused) => return Ok(refused.into_response()),
    };
    let held = (ticket, ask.caller.trail.as_ref().map(Trail::closing));
    let running = Box::pin(run(Arc::clone(&ask.core), held, on_upgrade, protocol, session));
    ask.core.tasks.spawn_transient("apiserver/stream", running);
    Ok(response)
}

/// # Errors
/// A webhook refuses the connection.
async fn admit(ask: &Ask, container: &str) -> Result<()> {
    let flag = |name: &str| ask.query.flag(name);
    let (kind, options) = match ask.subresource.as_str() {
        "portforward" => {
            let ports = ask.query.all("ports").flat_map(|list| list.split(','));
            (
                "PodPortForwardOptions",
                json!({"ports": ports.filter_map(|port| port.parse().ok()).collect::<Vec<u16>>()}),
            )
        }
        subresource => {
            let mut options = json!({
                "stdin": flag("stdin"), "stdout": flag("stdout"), "stderr": flag("stderr"), "tty": flag("tty"),
                "container": container,
            });
            if subresource == "attach" {
                ("PodAttachOptions", options)
            } else {
                options["command"] = json!(ask.query.all("command").collect::<Vec<_>>());
                ("PodExecOptions", options)
            }
        }
    };
    let mut options = options;
    options["kind"] = kind.into();
    options["apiVersion"] = "v1".into();
    ask.context(false).admit_connect(&ask.name, ("v1", kind), options).await
}

fn begin(
    ask: &Ask,
    streams: &dyn PodStreams,
    container: String,
    protocol: Protocol,
) -> std::result::Result<Session, Refused> {
    let (namespace, name, query) = (&ask.namespace, &ask.name, &ask.query);
    let failed = |why: String| Refused::new(500, why);
    if ask.subresource == "portforward" {
        let ports = query.all("ports").flat_map(|list| list.split(',')).filter(|port| !port.is_empty());
        let parsed = ports.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(port)).collect();
        let asked: Vec<u16> = std::result::Result::map_err(parsed, |port: &str| {
            Refused::new(400, format!("invalid port {}", crate::field_error::quote(port)))
        })?;
        if asked.is_empty() && matches!(protocol, Protocol::Channels { .. }) {
            return Err(Refused::new(400, "query parameter \"ports\" is required".to_owned()));
        }
        return Ok(Session::Forward { ports: streams.ports(namespace, name).map_err(failed)?, asked });
    }
    let has_terminal = query.flag("tty");
    let wanted = Wanted {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal has one output.
        stderr: query.flag("stderr") && !has_terminal,
        resize: has_terminal,
        is_exec: ask.subresource == "exec",
    };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(Refused::new(400, "you must specify at least 1 of stdin, stdout, stderr".to_owned()));
    }
    let starting = match wanted.is_exec {
        true => {
            let command: Vec<String> = query.all("command").map(str::to_owned).collect();
            if command.is_empty() {
                return Err(Refused::new(400, "you must specify at least one command for the container".to_owned()));
            }
            let options = ExecOptions { container, command, has_stdin: wanted.stdin, has_terminal };
            streams.exec(namespace, name, options)
        }
        false => {
            let options = AttachOptions { container, has_stdin: wanted.stdin, has_terminal };
            streams.attach(namespace, name, options)
        }
    };
    Ok(Session::Command { starting: starting.map_err(failed)?, wanted })
}

/// Whoever comes by GET must be allowed to POST as well: it is the same power.
fn require_create(ask: &Ask) -> Result<()> {
    let attributes = Attributes {
        verb: "create",
        group: &ask.resource.group,
        resource: &ask.resource.plural,
        subresource: &ask.subresource,
        namespace: &ask.namespace,
        name: &ask.name,
        path: "",
    };
    match ask.core.rbac.allows(&ask.caller.identity, &attributes) {
        true => Ok(()),
        false => Err(attributes.forbidden(&ask.caller.identity)),
    }
}

/// The container that is meant.
fn container(pod: &Value, name: &str, asked: &str) -> Result<String> {
    let names = |list: &str| list_at(pod, &["spec", list]).iter().map(|c| str_at(c, &["name"])).collect::<Vec<_>>();
    let main = names("containers");
    let all = [names("initContainers"), main.clone(), names("ephemeralContainers")].concat();
    match (asked, main.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", []) => Err(StatusError::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => Err(StatusError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
        (asked, _) if all.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(StatusError::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

/// Has the session, once the client has its answer.
async fn run(core: Arc<Core>, held: Held, on_upgrade: OnUpgrade, protocol: Protocol, session: Session) {
    let _held = held;
    let upgraded = match on_upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "a client has not upgraded its connection"),
    };
    // Over websockets channels have fixed numbers.
    let opens = !matches!(protocol, Protocol::Channels { .. });
    let wire = match protocol {
        Protocol::Channels { has_close } => websocket::wire(upgraded, has_close, &core.tasks).await,
        Protocol::Tunnel => {
            let (reader, writer) = websocket::tunnel(upgraded).await;
            spdy::wire(reader, writer, &core.tasks)
        }
        Protocol::Spdy => {
            let (reader, writer) = tokio::io::split(upgraded);
            spdy::wire(reader, writer, &core.tasks)
        }
    };
    let shutdown = core.tasks.shutdown().clone();
    let having = async {
        match session {
            Session::Command { starting, wanted } => command::run(wire, starting, wanted, opens).await,
            Session::Forward { ports, asked } => {
                let asked = (!opens).then_some(asked);
                forward::run(wire, ports, asked, core.tasks.clone()).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Drained) => {}
        () = having => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_in_kubernetes_words() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let said = |asked| container(&pod, "p", asked).map_err(|error| error.message);
        assert_eq!(said("b"), Ok("b".to_owned()));
        assert_eq!(said("i"), Ok("i".to_owned()));
        assert_eq!(said("c"), Err("container c is not valid for pod p".to_owned()));
        let choose = "a container name must be specified for pod p, choose one of: [i a b]";
        assert_eq!(said(""), Err(choose.to_owned()));
        assert_eq!(container(&json!({"spec": {"containers": [{"name": "a"}]}}), "p", ""), Ok("a".to_owned()));
    }
}

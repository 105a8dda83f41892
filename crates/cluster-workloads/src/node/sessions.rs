//! What people do in containers that run: `kubectl exec`, `attach`, `port-forward`.
//!
//! A program that somebody runs ends with its conversation: a terminal hangs up, as one does whose line is cut (shells and what they run
//! end by that), and what is still there a moment later is killed. A program without a terminal is killed at once, as containerd does it. So is
//! every one when this process is gone.
//!
//! Whoever attaches reads the container's log, as it grows, and writes to its input. So however slowly somebody reads, the container does not
//! wait, and who comes back finds everything in the log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base_rt::error_chain;
use bytes::Bytes;
use cluster_sandbox::spec::ContainerId;
use cluster_sandbox::{Attachment, ExecIo, Terminal};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;

use super::execs::{Command, Program};
use super::facts::containers;
use super::kubelet::Kubelet;
use super::logs::{self, Output, RunView};
use super::names;
use super::ports::PodPorts;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 32 << 10;
/// How often it is looked whether a container that somebody is attached to has ended.
const ENDED_EVERY: Duration = Duration::from_millis(50);

/// What to run, and in which container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The container; one that the Pod has.
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
    /// The container; one that the Pod has.
    pub container: String,
    /// Whether it is written to.
    pub has_stdin: bool,
    /// Whether it is expected to have a terminal.
    pub has_terminal: bool,
}

/// Why there is no conversation; the texts are the kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SessionError(pub String);

/// Takes a terminal's new size, in columns and rows.
pub type Resize = Box<dyn Fn(u16, u16) + Send + Sync>;

/// A conversation with a program. Dropping it ends a program that was started for it.
pub struct Session {
    /// Writes to it; its shutdown or drop is the end of its input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes. With a terminal that is all.
    pub stdout: BoxStream<'static, Bytes>,
    /// What it writes to its standard error.
    pub stderr: Option<BoxStream<'static, Bytes>>,
    /// Its terminal.
    pub resize: Option<Resize>,
    /// Its exit code once it has ended, or why that is not known. Who is only attached gets 0. What it has written may still be to be read.
    pub ended: BoxFuture<'static, Result<i32, String>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("has_terminal", &self.resize.is_some()).finish_non_exhaustive()
    }
}

/// A conversation that is about to begin; the error says why it does not.
pub type Starting = BoxFuture<'static, Result<Session, String>>;

/// A container that runs.
struct Target {
    uid: String,
    view: RunView,
    attempt: u32,
    id: ContainerId,
}

fn target(node: &Kubelet, pod: (&str, &str), container: &str) -> Result<Target, SessionError> {
    let found = node.run_view(pod.0, pod.1, container).filter(|(_, view)| view.is_running);
    let missing = || SessionError(format!("container not found ({container:?})"));
    let (uid, view) = found.ok_or_else(missing)?;
    let attempt = view.shown.ok_or_else(missing)?;
    let id = ContainerId::try_new(names::container_id(&uid, container, attempt)).map_err(|_| missing())?;
    Ok(Target { uid, view, attempt, id })
}

/// Runs a program.
pub(super) fn exec(node: &Arc<Kubelet>, pod: (&str, &str), options: ExecOptions) -> Result<Starting, SessionError> {
    let Target { id, view, .. } = target(node, pod, &options.container)?;
    if view.sink.is_some() {
        let name = options.container;
        return Err(SessionError(format!(
            "container {name:?} is a part of Kwick's own process: nothing can be run in it"
        )));
    }
    let command = Command {
        container: id,
        words: options.command,
        with_stdin: options.has_stdin,
        has_terminal: options.has_terminal,
        ends_with_us: true,
    };
    let node = Arc::clone(node);
    let starting = async move {
        let (program, io) = Program::start(&node, command).await?;
        let ended = ended(program).boxed();
        match io {
            ExecIo::Pipes { stdin, stdout, stderr } => {
                let failed = |error: std::io::Error| error.to_string();
                let stdin = stdin.map(pipe::Sender::from_owned_fd).transpose().map_err(failed)?;
                let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
                let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(failed)?;
                let stdin = stdin.map(|pipe| -> Box<dyn AsyncWrite + Send + Unpin> { Box::new(pipe) });
                Ok(Session { stdin, stdout: chunks(stdout), stderr: Some(chunks(stderr)), resize: None, ended })
            }
            ExecIo::Terminal(terminal) => {
                let stdin = options.has_stdin.then(|| boxed(&terminal));
                let resize = Some(resize(&terminal));
                Ok(Session { stdin, stdout: chunks(terminal), stderr: None, resize, ended })
            }
        }
    };
    Ok(starting.boxed())
}

async fn ended(mut program: Program) -> Result<i32, String> {
    Ok(program.ended().await.ok_or("the command's end was not told")?.code)
}

/// Attaches to a container.
pub(super) fn attach(node: &Arc<Kubelet>, pod: (&str, &str), options: AttachOptions) -> Result<Starting, SessionError> {
    let Target { uid, view, attempt, id } = target(node, pod, &options.container)?;
    let (node, namespace, name) = (Arc::clone(node), pod.0.to_owned(), pod.1.to_owned());
    let starting = async move {
        let container = options.container;
        let object = node.pod(&uid);
        let spec = object.as_ref().and_then(|pod| containers(pod).find(|spec| spec.name == container));
        let is = |flag: Option<bool>| flag == Some(true);
        let has_input = spec.is_some_and(|spec| is(spec.stdin));
        let has_terminal = spec.is_some_and(|spec| is(spec.tty));
        let failed = |error: std::io::Error| error.to_string();
        let run = (namespace.as_str(), name.as_str(), attempt);
        let follow = |output| logs::follow(&node, run, (&uid, &view), (&container, output));
        // Before anything is said, so that no answer is missed.
        let stdout = follow(Output::Stdout).await.map_err(failed)?;
        let stderr = if has_terminal { None } else { Some(follow(Output::Stderr).await.map_err(failed)?) };
        let wants = options.has_stdin && has_input || options.has_terminal && has_terminal;
        let attachment = match wants && view.sink.is_none() {
            true => node.sandbox.attach(&id).await.map_err(|error| error_chain(&error))?,
            false => Attachment::Nothing,
        };
        let (stdin, resize) = match attachment {
            Attachment::Nothing => (None, None),
            Attachment::Input(input) => {
                let input = pipe::Sender::from_owned_fd(input).map_err(failed)?;
                (Some(Box::new(input) as Box<dyn AsyncWrite + Send + Unpin>), None)
            }
            Attachment::Terminal(terminal) => {
                let stdin = (options.has_stdin && has_input).then(|| boxed(&terminal));
                (stdin, Some(resize(&terminal)))
            }
        };
        let watching = Arc::clone(&node);
        let over = async move {
            let is_running = || {
                let view = watching.run_view(&namespace, &name, &container);
                view.is_some_and(|(_, view)| view.is_running && view.shown == Some(attempt))
            };
            while is_running() {
                tokio::time::sleep(ENDED_EVERY).await;
            }
            Ok(0)
        };
        Ok(Session { stdin, stdout, stderr, resize, ended: over.boxed() })
    };
    Ok(starting.boxed())
}

/// The ports of a Pod.
pub(super) fn ports(node: &Arc<Kubelet>, pod: (&str, &str)) -> Result<PodPorts, SessionError> {
    let (uid, ports) =
        node.ports(pod.0, pod.1).ok_or_else(|| SessionError(format!("pod not found (\"{}_{}\")", pod.1, pod.0)))?;
    Ok(PodPorts { ports, pod: [pod.1.to_owned(), uid] })
}

fn boxed(terminal: &Terminal) -> Box<dyn AsyncWrite + Send + Unpin> {
    Box::new(terminal.clone())
}

fn resize(terminal: &Terminal) -> Resize {
    let terminal = terminal.clone();
    Box::new(move |columns, rows| {
        if let Err(error) = terminal.resize(columns, rows) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    })
}

/// What comes from a program, until it ends or fails.
fn chunks(from: impl AsyncRead + Send + Unpin + 'static) -> BoxStream<'static, Bytes> {
    Box::pin(futures::stream::unfold(from, |mut from| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = from.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        chunk.truncate(count);
        Some((Bytes::from(chunk), from))
    }))
}

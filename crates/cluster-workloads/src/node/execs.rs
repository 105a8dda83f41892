//! Programs beside a container's own: probes' and hooks' commands, and what people run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_rt::error_chain;
use cluster_sandbox::ExecIo;
use cluster_sandbox::spec::{ContainerId, ExecId, ExecSpec, Exit};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::kubelet::Kubelet;
use super::names::SIGKILL;
use super::probes::Execs;

/// Bytes of a command's output that are kept for its probe's message.
const OUTPUT_BYTES: usize = 1024;

/// What is run, in which run of a container.
pub(crate) struct Command {
    pub(crate) container: ContainerId,
    pub(crate) words: Vec<String>,
    pub(crate) with_stdin: bool,
    pub(crate) has_terminal: bool,
    /// Whether it does not outlive this process.
    pub(crate) ends_with_us: bool,
}

/// A program that runs. Dropping it does not end the program.
pub(crate) struct Program {
    node: Arc<Kubelet>,
    id: ExecId,
    ended: oneshot::Receiver<Exit>,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.node.forget_end(&self.id);
    }
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) async fn start(node: &Arc<Kubelet>, command: Command) -> Result<(Self, ExecIo), String> {
        let Command { container, words, with_stdin, has_terminal, ends_with_us } = command;
        let number = node.exec_count.fetch_add(1, Ordering::Relaxed);
        let started = node.clock.now().as_microsecond();
        let id = ExecId::try_new(format!("exec-{started}-{number}")).map_err(|error| error.to_string())?;
        let program = Self { node: Arc::clone(node), ended: node.expect_end(&id), id: id.clone() };
        let spec = ExecSpec { container, id, command: words, with_stdin, has_terminal, ends_with_client: ends_with_us };
        let handle = node.sandbox.exec(&spec).await.map_err(|error| error_chain(&error))?;
        Ok((program, handle.io))
    }

    /// Its name at the spawner.
    pub(crate) fn id(&self) -> &ExecId {
        &self.id
    }

    /// Waits for its end. None if that was not told.
    pub(crate) async fn ended(&mut self) -> Option<Exit> {
        (&mut self.ended).await.ok()
    }
}

/// Runs commands in one run of a container.
pub(crate) struct ContainerExecs {
    pub(crate) node: Arc<Kubelet>,
    pub(crate) container: ContainerId,
}

impl Execs for ContainerExecs {
    fn run(&self, words: Vec<String>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let container = self.container.clone();
            let command = Command { container, words, with_stdin: false, has_terminal: false, ends_with_us: false };
            let (mut program, io) = Program::start(&self.node, command).await?;
            let ExecIo::Pipes { stdout, stderr, .. } = io else { return Err("it has a terminal".to_owned()) };
            let mut killing = KillUnlessEnded { node: &self.node, id: Some(program.id().clone()) };
            let (stdout, stderr, exit) = tokio::join!(output(stdout), output(stderr), program.ended());
            killing.id = None;
            match exit.ok_or("the command's end was not told")?.code {
                0 => Ok(()),
                _ => Err(format!("{stdout}{stderr}")),
            }
        }
        .boxed()
    }
}

/// Kills a command when nobody waits for it any more.
struct KillUnlessEnded<'a> {
    node: &'a Arc<Kubelet>,
    id: Option<ExecId>,
}

impl Drop for KillUnlessEnded<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let node = Arc::clone(self.node);
        self.node.tasks.spawn_transient("node/kill-exec", async move {
            // What has ended meanwhile is not there any more.
            let _ = node.sandbox.signal_exec(&id, SIGKILL).await;
        });
    }
}

/// The beginning of what a command wrote; the rest is read and dropped, so that it never waits for us.
async fn output(pipe: OwnedFd) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut kept = Vec::new();
    if let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) {
        let mut chunk = vec![0; OUTPUT_BYTES];
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            let room = OUTPUT_BYTES - kept.len();
            kept.extend(chunk.iter().take(count.min(room)));
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

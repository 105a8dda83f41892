//! Programs beside a container's own: probes' and hooks' commands, and what people run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
/// How long a program may take to end once its terminal has hung up.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// What is run, in which run of a container.
pub(crate) struct Command {
    pub(crate) container: ContainerId,
    pub(crate) words: Vec<String>,
    pub(crate) with_stdin: bool,
    pub(crate) has_terminal: bool,
    /// Whether it does not outlive this process.
    pub(crate) ends_with_us: bool,
}

/// A program that runs, or is about to. Dropping it ends the program: one with a terminal a moment after that has hung up, others at once.
pub(crate) struct Program {
    node: Arc<Kubelet>,
    id: ExecId,
    ended: oneshot::Receiver<Exit>,
    /// How long it may take to end by itself once nobody waits for it.
    patience: Duration,
    is_over: bool,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.node.forget_end(&self.id);
        if self.is_over {
            return;
        }
        let (node, id, patience) = (Arc::clone(&self.node), self.id.clone(), self.patience);
        self.node.tasks.spawn_transient("node/end-exec", async move {
            tokio::time::sleep(patience).await;
            // What has ended meanwhile is not there any more.
            let _ = node.sandbox.signal_exec(&id, SIGKILL).await;
        });
    }
}

impl Program {
    /// Starts it. Who gives up waiting for the start ends it too: the spawner hears of the end after it has heard of the start.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) async fn start(node: &Arc<Kubelet>, command: Command) -> Result<(Self, ExecIo), String> {
        let Command { container, words, with_stdin, has_terminal, ends_with_us } = command;
        let number = node.exec_count.fetch_add(1, Ordering::Relaxed);
        let started = node.clock.now().as_microsecond();
        let id = ExecId::try_new(format!("exec-{started}-{number}")).map_err(|error| error.to_string())?;
        let mut program = Self {
            node: Arc::clone(node),
            ended: node.expect_end(&id),
            id: id.clone(),
            patience: if has_terminal { HANG_UP_TIMEOUT } else { Duration::ZERO },
            is_over: false,
        };
        let spec = ExecSpec { container, id, command: words, with_stdin, has_terminal, ends_with_client: ends_with_us };
        match node.sandbox.exec(&spec).await {
            Ok(handle) => Ok((program, handle.io)),
            Err(error) => {
                program.is_over = error.refusal().is_some();
                Err(error_chain(&error))
            }
        }
    }

    /// Waits for its end. None if that was not told.
    pub(crate) async fn ended(&mut self) -> Option<Exit> {
        let exit = (&mut self.ended).await.ok();
        self.is_over = true;
        exit
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
            let (stdout, stderr, exit) = tokio::join!(output(stdout), output(stderr), program.ended());
            match exit.ok_or("the command's end was not told")?.code {
                0 => Ok(()),
                _ => Err(format!("{stdout}{stderr}")),
            }
        }
        .boxed()
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

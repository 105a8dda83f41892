//! Talking with programs: those that run beside a container's own, and that one.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Sandbox, SandboxError};
use crate::spec::{ContainerId, ExecSpec};
use crate::sys::async_fd::register;
use crate::wire::{Answer, Request, TERMINALS_SINCE};

/// What is said of a spawner that is too old for what is here.
pub(super) const LACK: &str = "knows neither terminals nor inputs";

/// A program that runs beside a container's own.
#[derive(Debug)]
pub struct ExecHandle {
    /// Its process, as the host numbers it.
    pub pid: i32,
    /// Its input and output.
    pub io: ExecIo,
}

/// Input and output of a program beside a container's own, as it was asked for.
#[derive(Debug)]
pub enum ExecIo {
    /// Blocking pipes.
    Pipes {
        /// Writes to its standard input, if that was asked for.
        stdin: Option<OwnedFd>,
        /// Reads its standard output.
        stdout: OwnedFd,
        /// Reads its standard error.
        stderr: OwnedFd,
    },
    /// One terminal for all three. Its last clone's end hangs up.
    Terminal(Terminal),
}

/// What whoever attaches to a container gets.
#[derive(Debug)]
pub enum Attachment {
    /// The container has no input, or somebody else has had it.
    Nothing,
    /// Writes to its standard input; blocking.
    Input(OwnedFd),
    /// Its terminal. What it shows is in the log; reading it here would take that away.
    Terminal(Terminal),
}

/// The side of a terminal that is typed into and read. Clones are the same terminal.
#[derive(Clone, Debug)]
pub struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(fd: OwnedFd) -> Result<Self, SandboxError> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| SandboxError::Terminal(error.into()))?;
        register(fd).map(|fd| Self(Arc::new(fd))).map_err(SandboxError::Terminal)
    }

    /// Says how large the window is; programs in it are told.
    ///
    /// # Errors
    /// The terminal is broken.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.0.get_ref(), size)?)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            match rustix::io::read(self.0.get_ref(), into.initialize_unfilled()) {
                Ok(count) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // Nobody has it open any more: what ends a pipe by an empty read.
                Err(Errno::IO) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match rustix::io::write(self.0.get_ref(), bytes) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                outcome => return Poll::Ready(Ok(outcome?)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Sandbox {
    /// Starts a program in a running container. Its end is told as an event.
    ///
    /// # Errors
    /// Refused as [`start_container`](Self::start_container) is, or the connection is broken.
    pub async fn exec(&self, spec: &ExecSpec) -> Result<ExecHandle, SandboxError> {
        if spec.has_terminal {
            self.require(TERMINALS_SINCE, LACK)?;
        }
        let answered = self.ask(Request::Exec(Box::new(spec.clone()))).await?;
        let Answer::Exec { pid } = answered.answer else { return Err(SandboxError::Unexpected) };
        let mut ends = answered.descriptors.into_iter();
        if spec.has_terminal {
            let terminal = ends.next().ok_or(SandboxError::Unexpected)?;
            return Ok(ExecHandle { pid, io: ExecIo::Terminal(Terminal::new(terminal)?) });
        }
        let stdin = if spec.with_stdin { ends.next() } else { None };
        match (ends.next(), ends.next()) {
            (Some(stdout), Some(stderr)) => Ok(ExecHandle { pid, io: ExecIo::Pipes { stdin, stdout, stderr } }),
            _ => Err(SandboxError::Unexpected),
        }
    }

    /// What a running container is told through: its terminal if it has one, else its input.
    ///
    /// # Errors
    /// [`RefusalCode::Busy`](super::RefusalCode::Busy) if it does not run,
    /// [`RefusalCode::NotFound`](super::RefusalCode::NotFound); or the connection is broken.
    pub async fn attach(&self, container: &ContainerId) -> Result<Attachment, SandboxError> {
        self.require(TERMINALS_SINCE, LACK)?;
        let answered = self.ask(Request::Attach { container: container.clone() }).await?;
        let Answer::Attached { is_terminal } = answered.answer else { return Err(SandboxError::Unexpected) };
        match answered.descriptors.into_iter().next() {
            None => Ok(Attachment::Nothing),
            Some(fd) if is_terminal => Terminal::new(fd).map(Attachment::Terminal),
            Some(fd) => Ok(Attachment::Input(fd)),
        }
    }
}

//! Connections that have left HTTP (WebSockets), and what lives as long as they do.
//!
//! Whoever dials the upstream joins both connections ([`join`]) and leaves a [`Hold`] in the response. The boxes around it, which in one
//! process are calls, [`attach`] to it what must last until the connection ends: a slot in a breaker, a request that counts. Without an
//! upgrade the same things last until the response's body has been read.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base_net::{Request, Response, upgrade};
use base_rt::watch;
use base_rt::{Phase, Tasks};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The client's connection once it has left HTTP, if the request asks for that.
pub(crate) fn client_side(request: &mut Request) -> Option<OnUpgrade> {
    upgrade::client_side(request)
}

/// What lives as long as an upgraded connection.
#[derive(Clone)]
pub(crate) struct Hold(Arc<Shared>);

struct Shared {
    /// None once the connection is over.
    guards: Mutex<Option<Vec<Box<dyn Any + Send>>>>,
    bounds: watch::Sender<Bounds>,
    begun: Instant,
    /// When something last came from upstream.
    heard: Mutex<Option<Instant>>,
}

/// How long an upgraded connection may last. None is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// When it has to be over.
    pub(crate) end_by: Option<Instant>,
    /// When something has to have come from upstream.
    pub(crate) start_by: Option<Instant>,
    /// Between two parts that come from upstream.
    pub(crate) idle: Option<Duration>,
}

impl Bounds {
    /// The narrower of two.
    fn and(self, other: Self) -> Self {
        fn min<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            [one, other].into_iter().flatten().min()
        }
        Self {
            end_by: min(self.end_by, other.end_by),
            start_by: min(self.start_by, other.start_by),
            idle: min(self.idle, other.idle),
        }
    }
}

impl Hold {
    fn new() -> Self {
        Self(Arc::new(Shared {
            guards: Mutex::new(Some(Vec::new())),
            bounds: watch::Sender::new(Bounds::default()),
            begun: Instant::now(),
            heard: Mutex::new(None),
        }))
    }

    /// Keeps `guard` until the connection is over.
    fn keep(&self, guard: Box<dyn Any + Send>) {
        let mut guards = self.0.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guards) = guards.as_mut() {
            guards.push(guard);
        }
    }

    /// The connection keeps within these bounds, and those that were set before.
    pub(crate) fn keep_within(&self, bounds: Bounds) {
        self.0.bounds.send_modify(|before| *before = before.and(bounds));
    }

    /// Something has come from upstream.
    fn hear(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When a bound will be reached if nothing more comes.
    fn due(&self, Bounds { end_by, start_by, idle }: Bounds) -> Option<Instant> {
        let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let start_by = start_by.filter(|_| heard.is_none());
        let idle = idle.map(|idle| heard.unwrap_or(self.0.begun) + idle);
        [end_by, start_by, idle].into_iter().flatten().min()
    }

    async fn is_due(&self) {
        let mut bounds = self.0.bounds.subscribe();
        loop {
            let due = self.due(*bounds.borrow_and_update());
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is this hold's.
                _ = bounds.changed() => {}
                // Something may have come meanwhile.
                () = due => {}
            }
        }
    }

    fn release(&self) {
        let guards = self.0.guards.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guards);
    }
}

/// If `response` switches protocols, has both connections copied into each other until one ends, the time is over or the process has
/// drained.
pub(crate) fn join(client: Option<OnUpgrade>, response: &mut Response, tasks: &Tasks) {
    let (Some(client), StatusCode::SWITCHING_PROTOCOLS) = (client, response.status()) else { return };
    let upstream = hyper::upgrade::on(&mut *response);
    let hold = Hold::new();
    response.extensions_mut().insert(hold.clone());
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_transient("upgraded", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = hold.is_due() => {}
            () = copy(client, upstream, &hold) => {}
        }
        hold.release();
    });
}

async fn copy(client: OnUpgrade, upstream: OnUpgrade, hold: &Hold) {
    let copied = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let mut client = TokioIo::new(client);
        let mut upstream = Heard { io: TokioIo::new(upstream), hold };
        // Either end may go away at any time.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        Ok::<(), hyper::Error>(())
    };
    if let Err(error) = copied.await {
        tracing::debug!(error = base_rt::error_chain(&error), "upgrade failed");
    }
}

pin_project! {
    /// A connection to upstream of which is noted when something came from it.
    struct Heard<'h, S> {
        #[pin]
        io: S,
        hold: &'h Hold,
    }
}

impl<S: AsyncRead> AsyncRead for Heard<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let read = this.io.poll_read(cx, buffer);
        if buffer.filled().len() > before {
            this.hold.hear();
        }
        read
    }
}

impl<S: AsyncWrite> AsyncWrite for Heard<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

/// The connection that `response` switches to another protocol, if it does.
pub(crate) fn of(response: &Response) -> Option<&Hold> {
    response.extensions().get::<Hold>()
}

/// Keeps `guard` until `response` is over: its body read or dropped, or its connection closed.
pub(crate) fn attach(response: Response, guard: impl Send + 'static) -> Response {
    if let Some(hold) = of(&response) {
        hold.keep(Box::new(guard));
        return response;
    }
    response.map(|body| body.with_attached(guard))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds a connection ends of which something comes from upstream at these.
    async fn ends_after(bounds: &[Bounds], heard: &[u32]) -> u64 {
        let (hold, begun) = (Hold::new(), Instant::now());
        bounds.iter().for_each(|bounds| hold.keep_within(*bounds));
        let hearing = async {
            for second in heard {
                tokio::time::sleep_until(begun + SECOND * *second).await;
                hold.hear();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = hearing => {}
            () = hold.is_due() => {}
        }
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_keeps_within_its_bounds() {
        let now = Instant::now();
        let end = Bounds { end_by: Some(now + SECOND * 9), ..Bounds::default() };
        assert_eq!(ends_after(&[end], &[1, 2]).await, 9);
        let now = Instant::now();
        let start = Bounds { start_by: Some(now + SECOND * 5), ..Bounds::default() };
        let end = Bounds { end_by: Some(now + SECOND * 20), ..Bounds::default() };
        assert_eq!(ends_after(&[end, start], &[]).await, 5);
        let now = Instant::now();
        let start = Bounds { start_by: Some(now + SECOND * 5), ..Bounds::default() };
        let end = Bounds { end_by: Some(now + SECOND * 20), ..Bounds::default() };
        assert_eq!(ends_after(&[start, end], &[4]).await, 20);
        let idle = Bounds { idle: Some(SECOND * 3), ..Bounds::default() };
        assert_eq!(ends_after(&[idle], &[]).await, 3);
        let longer = Bounds { idle: Some(SECOND * 7), ..Bounds::default() };
        assert_eq!(ends_after(&[idle, longer], &[2, 4, 6]).await, 9);
    }
}

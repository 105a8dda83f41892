//! Connections that have left HTTP (WebSockets), and what lives as long as they do.
//!
//! Whoever dials the upstream joins both connections ([`join`]) and leaves a [`Hold`] in the response. The boxes around it, which in one
//! process are calls, [`attach`] to it what must last until the connection ends: a slot in a breaker, a request that counts. Without an
//! upgrade the same things last until the response's body has been read.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use base_net::{Request, Response, upgrade};
use base_rt::watch;
use base_rt::{Phase, Tasks};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
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
    deadline: watch::Sender<Option<Instant>>,
}

impl Hold {
    fn new() -> Self {
        Self(Arc::new(Shared { guards: Mutex::new(Some(Vec::new())), deadline: watch::Sender::new(None) }))
    }

    /// Keeps `guard` until the connection is over.
    fn keep(&self, guard: Box<dyn Any + Send>) {
        let mut guards = self.0.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guards) = guards.as_mut() {
            guards.push(guard);
        }
    }

    /// The connection has to be over by then, or by an earlier time that was set.
    pub(crate) fn end_by(&self, deadline: Instant) {
        self.0.deadline.send_modify(|before| *before = Some(before.map_or(deadline, |before| before.min(deadline))));
    }

    async fn is_due(&self) {
        let mut deadline = self.0.deadline.subscribe();
        loop {
            let due = *deadline.borrow_and_update();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is this hold's.
                _ = deadline.changed() => {}
                () = due => return,
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
            () = copy(client, upstream) => {}
        }
        hold.release();
    });
}

async fn copy(client: OnUpgrade, upstream: OnUpgrade) {
    let copied = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // Either end may go away at any time.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        Ok::<(), hyper::Error>(())
    };
    if let Err(error) = copied.await {
        tracing::debug!(error = base_rt::error_chain(&error), "upgrade failed");
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

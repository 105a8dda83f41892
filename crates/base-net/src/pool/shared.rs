//! The one HTTP/2 connection of a target, shared by all requests to it, and the dial that makes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hyper::client::conn::http2::SendRequest;

use crate::body::Body;
use crate::connect::DialError;

/// A dial that several requests wait for.
pub(super) type SharedDial = Shared<BoxFuture<'static, Result<SendRequest<Body>, Arc<DialError>>>>;

/// A dial to be shared.
pub(super) fn dialling(
    dial: impl Future<Output = Result<SendRequest<Body>, DialError>> + Send + 'static,
) -> SharedDial {
    dial.map(|dialled| dialled.map_err(Arc::new)).boxed().shared()
}

#[derive(Default)]
pub(super) struct SharedConnection(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    None,
    Dialling(SharedDial),
    Open {
        sender: SendRequest<Body>,
        idle_ticks: u32,
    },
}

impl SharedConnection {
    /// The connection, or what comes of dialling it.
    pub(super) async fn get(&self, dial: impl FnOnce() -> SharedDial) -> Result<SendRequest<Body>, Arc<DialError>> {
        let dialling = match &mut *self.lock() {
            State::Open { sender, .. } if !sender.is_closed() => return Ok(sender.clone()),
            State::Dialling(dialling) => dialling.clone(),
            state => {
                let dialling = dial();
                *state = State::Dialling(dialling.clone());
                dialling
            }
        };
        let dialled = dialling.await;
        let mut state = self.lock();
        // The first who sees the dial's end files it; a failed one is not kept.
        if matches!(&*state, State::Dialling(_)) {
            *state = match &dialled {
                Ok(sender) => State::Open { sender: sender.clone(), idle_ticks: 0 },
                Err(_) => State::None,
            };
        }
        dialled
    }

    /// One tick has passed: drops the connection if it is closed, idle for more than `limit` ticks, or has to end. True if there is one.
    pub(super) fn sweep(&self, is_stopped: bool, is_idle: bool, limit: u32) -> bool {
        let mut state = self.lock();
        if let State::Open { sender, idle_ticks } = &mut *state {
            *idle_ticks = if is_idle { idle_ticks.saturating_add(1) } else { 0 };
            if is_stopped || sender.is_closed() || *idle_ticks > limit {
                *state = State::None;
            }
        }
        !matches!(&*state, State::None)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

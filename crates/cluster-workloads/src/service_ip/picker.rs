//! Which endpoint takes the next client of a front: each in turn, or the one that it had, with `sessionAffinity: ClientIP`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::table::Wanted;

/// Endpoints that are tried for one client.
const CANDIDATES_MAX: usize = 3;
/// Clients that a front remembers. Beyond it, those that have been away longest than their time are forgotten, and else all.
const REMEMBERED_MAX: usize = 10_000;

/// The endpoints of one front.
#[derive(Debug, Default)]
pub(super) struct Picker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Wanted,
    turn: usize,
    remembered: BTreeMap<IpAddr, (SocketAddr, Instant)>,
}

impl Picker {
    /// Replaces the endpoints; clients stay with theirs as long as it is one of them.
    pub(super) fn update(&self, wanted: Wanted) {
        let mut state = self.state();
        if wanted.affinity.is_none() {
            state.remembered.clear();
        }
        state.remembered.retain(|_, (endpoint, _)| wanted.endpoints.contains(endpoint));
        state.wanted = wanted;
    }

    /// Whether `endpoint` is still one.
    pub(super) fn has(&self, endpoint: SocketAddr) -> bool {
        self.state().wanted.endpoints.contains(&endpoint)
    }

    /// The endpoints to try for a client, in order.
    pub(super) fn candidates(&self, client: IpAddr, now: Instant) -> Vec<SocketAddr> {
        let mut state = self.state();
        let count = state.wanted.endpoints.len();
        let first = state.turn.checked_rem(count).unwrap_or_default();
        state.turn = first + 1;
        let in_turn = state.wanted.endpoints.iter().cycle().skip(first).take(count.min(CANDIDATES_MAX)).copied();
        let mut candidates: Vec<SocketAddr> = in_turn.collect();
        if let Some(own) = state.remembered_by(client, now) {
            candidates.retain(|candidate| *candidate != own);
            candidates.insert(0, own);
        }
        candidates
    }

    /// Takes down that `endpoint` has taken the client.
    pub(super) fn took(&self, client: IpAddr, endpoint: SocketAddr, now: Instant) {
        let mut state = self.state();
        let Some(affinity) = state.wanted.affinity else { return };
        if state.remembered.len() >= REMEMBERED_MAX && !state.remembered.contains_key(&client) {
            state.remembered.retain(|_, (_, last)| now.duration_since(*last) < affinity);
            if state.remembered.len() >= REMEMBERED_MAX {
                state.remembered.clear();
            }
        }
        state.remembered.insert(client, (endpoint, now));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remembered_by(&self, client: IpAddr, now: Instant) -> Option<SocketAddr> {
        let affinity = self.wanted.affinity?;
        let (endpoint, last) = self.remembered.get(&client)?;
        (now.duration_since(*last) < affinity).then_some(*endpoint)
    }
}

//! Wakes keys of a controller when a fact about them changes.
//!
//! The small services that gather facts (digests, decisions, gateways, probes) are made before the controllers that read them, and may
//! learn something before those run: what was woken until then is handed over when the controller is there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use base_controller::{ControllerHandle, Key};

/// Wakes one controller's keys, now or as soon as it is there. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// There is no controller yet; these keys wait for it.
    Waiting(BTreeSet<Key>),
    Bound(ControllerHandle),
}

impl Default for Waker {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Waiting(BTreeSet::new()))))
    }
}

impl Waker {
    /// Has `key` looked at.
    pub(crate) fn wake(&self, key: &Key) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Waiting(keys) => {
                keys.insert(key.clone());
            }
            State::Bound(controller) => controller.wake(key),
        }
    }

    /// The controller is there.
    pub(crate) fn bind(&self, controller: ControllerHandle) {
        let before =
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Bound(controller));
        if let State::Waiting(keys) = before {
            keys.iter().for_each(|key| self.wake(key));
        }
    }
}

//! What the gateways serve: facts that they, or whoever probes them, report.
//!
//! A gateway joins under a name before it reports, and leaves when it ends; an Ingress is ready when all that have joined serve its current
//! version. Each fact that changes wakes the Ingress.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::{ControllerHandle, Key};

use crate::waker::Waker;

/// Which version of which Ingress each gateway serves. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct GatewayFacts {
    gateways: Arc<Mutex<BTreeMap<String, BTreeMap<Key, String>>>>,
    waker: Waker,
}

impl GatewayFacts {
    /// A gateway begins to serve, nothing yet. From now on it is waited for.
    pub fn join(&self, gateway: &str) {
        self.gateways().entry(gateway.to_owned()).or_default();
    }

    /// A gateway ends; nobody waits for it any more.
    pub fn leave(&self, gateway: &str) {
        let served = self.gateways().remove(gateway).unwrap_or_default();
        served.keys().for_each(|ingress| self.waker.wake(ingress));
    }

    /// `gateway` serves `version` (the hash of namespace, name and spec) of `ingress`, or has ceased to serve it.
    pub fn serves(&self, gateway: &str, ingress: &Key, version: Option<&str>) {
        let mut gateways = self.gateways();
        let served = gateways.entry(gateway.to_owned()).or_default();
        let before = match version {
            Some(version) => served.insert(ingress.clone(), version.to_owned()),
            None => served.remove(ingress),
        };
        drop(gateways);
        if before.as_deref() != version {
            self.waker.wake(ingress);
        }
    }

    /// Which version of `ingress` each gateway serves; none where it serves none.
    pub(crate) fn versions(&self, ingress: &Key) -> BTreeMap<String, Option<String>> {
        let gateways = self.gateways();
        gateways.iter().map(|(gateway, served)| (gateway.clone(), served.get(ingress).cloned())).collect()
    }

    /// From now on, `controller` is woken.
    pub(crate) fn bind(&self, controller: ControllerHandle) {
        self.waker.bind(controller);
    }

    fn gateways(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<Key, String>>> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_have_left_are_not_waited_for() {
        let (facts, key) = (GatewayFacts::default(), Key::new("n", "i"));
        facts.join("a");
        facts.serves("b", &key, Some("v1"));
        assert_eq!(facts.versions(&key), [("a".to_owned(), None), ("b".to_owned(), Some("v1".to_owned()))].into());
        facts.leave("a");
        facts.serves("b", &key, None);
        assert_eq!(facts.versions(&key), [("b".to_owned(), None)].into());
    }
}

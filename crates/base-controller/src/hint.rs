//! Hints: a bounded, lossy bus between parts of one process, in Kubernetes' words only.
//!
//! A hint makes somebody look *now*; it carries no decision. With every `send` removed (or with [`HintBus::off`]) the system is still right,
//! only slower, and tests run it so.

use std::sync::{Arc, Mutex, PoisonError};

use base_rt::metrics::{Counter, Scope};
use tokio::sync::mpsc;

/// Hints that one receiver may be behind; beyond it they are lost.
pub const CAPACITY: usize = 1024;

/// Something that somebody may want to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// More Pods of a Deployment will be wanted in a moment.
    Wanted {
        /// The Deployment's namespace.
        namespace: String,
        /// The Deployment's name.
        deployment: String,
        /// How many Pods in all.
        count: u32,
    },
    /// A Pod's port has begun to listen.
    Listening {
        /// The Pod's namespace.
        namespace: String,
        /// The Pod's name.
        pod: String,
    },
}

/// Where hints are sent and received. Clones share the receivers.
#[derive(Clone, Debug)]
pub struct HintBus {
    receivers: Option<Arc<Mutex<Vec<mpsc::Sender<Hint>>>>>,
    lost: Counter,
}

impl HintBus {
    /// A bus without receivers.
    pub fn new(metrics: &Scope) -> Self {
        let lost = metrics.register("hints_lost", "Hints lost because a receiver was behind", Counter::default());
        Self { receivers: Some(Arc::default()), lost }
    }

    /// A bus that delivers nothing.
    pub fn off() -> Self {
        Self { receivers: None, lost: Counter::default() }
    }

    /// Tells every receiver that is not too far behind. Never waits.
    pub fn send(&self, hint: &Hint) {
        let Some(receivers) = &self.receivers else { return };
        receivers.lock().unwrap_or_else(PoisonError::into_inner).retain(|receiver| {
            match receiver.try_send(hint.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.lost.inc();
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }

    /// A new receiver of every hint from here on. From a bus that is off it never yields any.
    pub fn subscribe(&self) -> mpsc::Receiver<Hint> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        if let Some(receivers) = &self.receivers {
            receivers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(pod: &str) -> Hint {
        Hint::Listening { namespace: "n".into(), pod: pod.into() }
    }

    #[tokio::test]
    async fn every_receiver_gets_a_hint_and_a_slow_one_loses_some() {
        let bus = HintBus::new(&Scope::root());
        let (mut quick, mut slow) = (bus.subscribe(), bus.subscribe());
        for n in 0..=CAPACITY {
            bus.send(&listening(&n.to_string()));
            assert_eq!(quick.recv().await, Some(listening(&n.to_string())));
        }
        assert_eq!(bus.lost.get(), 1);
        assert_eq!(slow.recv().await, Some(listening("0")));
    }

    #[tokio::test]
    async fn a_bus_that_is_off_delivers_nothing() {
        let bus = HintBus::off();
        let mut receiver = bus.subscribe();
        bus.send(&listening("a"));
        assert!(receiver.try_recv().is_err());
    }
}

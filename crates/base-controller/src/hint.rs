//! Hints: a bounded, lossy bus between parts of one process, in Kubernetes' words only.
//!
//! A hint makes somebody look *now*; it carries no decision. With every `send` removed the system is still right, only slower.

use std::sync::{Arc, Mutex, PoisonError};

use base_rt::metrics::{Counter, Scope};
use tokio::sync::mpsc;

/// Hints that one receiver may be behind; beyond it they are lost.
pub const CAPACITY: usize = 1024;

/// Something that somebody may want to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
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
    receivers: Arc<Mutex<Vec<mpsc::Sender<Hint>>>>,
    lost: Counter,
}

impl HintBus {
    /// A bus without receivers.
    pub fn new(metrics: &Scope) -> Self {
        let lost = metrics.register("hints_lost", "Hints lost because a receiver was behind", Counter::default());
        Self { receivers: Arc::default(), lost }
    }

    /// Tells every receiver that is not too far behind. Never waits.
    pub fn send(&self, hint: &Hint) {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).retain(|receiver| {
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

    /// A new receiver of every hint from here on.
    pub fn subscribe(&self) -> mpsc::Receiver<Hint> {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
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
}

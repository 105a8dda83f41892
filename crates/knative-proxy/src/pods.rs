//! The Pods that requests are sent to, with how many are on their way to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base_net::connect::Target;
use knative_logic::pick::{self, Load};

use crate::random;

/// A Pod's serving port.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) target: Target,
    /// Requests that it takes at a time from here; 0 is any number.
    pub(crate) capacity: u32,
    in_flight: Arc<AtomicU32>,
}

/// A request on its way to a Pod, until it is dropped.
#[derive(Debug)]
pub(crate) struct OnItsWay(Arc<AtomicU32>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pod {
    /// A Pod, which was one of `before` perhaps: then what is in flight stays counted.
    pub(crate) fn new(target: Target, capacity: u32, before: &[Arc<Self>]) -> Arc<Self> {
        let known = before.iter().find(|pod| pod.target == target);
        if let Some(same) = known.filter(|pod| pod.capacity == capacity) {
            return Arc::clone(same);
        }
        let in_flight = known.map(|pod| Arc::clone(&pod.in_flight)).unwrap_or_default();
        Arc::new(Self { target, capacity, in_flight })
    }

    pub(crate) fn load(&self) -> Load {
        Load { in_flight: self.in_flight.load(Ordering::Relaxed), capacity: self.capacity }
    }

    /// One more request is on its way.
    pub(crate) fn begin(&self) -> OnItsWay {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OnItsWay(Arc::clone(&self.in_flight))
    }
}

/// The less loaded of two at random.
pub(crate) fn two_choices(pods: &[Arc<Pod>]) -> Option<&Arc<Pod>> {
    let load = |index: usize| pods.get(index).map(|pod| pod.load()).unwrap_or_default();
    // One Pod needs no choice.
    let random = if pods.len() > 1 { random::bits() } else { 0 };
    pods.get(pick::two_choices(pods.len(), random, load)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_survives_a_change_of_the_pods() {
        let target = Target::http1("10.0.0.1:8012".parse().unwrap());
        let first = Pod::new(target.clone(), 1, &[]);
        let request = first.begin();
        let second = Pod::new(target.clone(), 2, &[Arc::clone(&first)]);
        assert_eq!(second.load(), Load { in_flight: 1, capacity: 2 });
        drop(request);
        assert_eq!((first.load().in_flight, second.load().in_flight), (0, 0));
        assert!(Arc::ptr_eq(&second, &Pod::new(target, 2, &[Arc::clone(&second)])));
        assert!(two_choices(&[]).is_none() && two_choices(&[second]).is_some());
    }
}

//! Which pod a request goes to, and which pods are an activator's own.
//!
//! Pods that limit their concurrency are asked in turn: the first with room, beginning behind the
//! last one that was chosen. Knative begins at the first pod for limits up to three, which loads
//! the lowest addresses most (knative/serving#12734, #14199); in turn serves the same limits
//! without that. Pods without a limit are chosen by the power of two choices: of two at random the
//! less loaded one. No pods is an answer, not an index out of range.

/// What is known of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that have been sent to it and not come back.
    pub in_flight: u32,
    /// How many it takes at a time; 0 is any number.
    pub capacity: u32,
}

impl Load {
    /// Whether it takes another request.
    pub fn has_room(self) -> bool {
        self.capacity == 0 || self.in_flight < self.capacity
    }
}

/// The turn among pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn(usize);

impl Turn {
    /// The next pod with room, in turn. `load` says what is known of the pod at an index below
    /// `pods`.
    pub fn next(&mut self, pods: usize, load: impl Fn(usize) -> Load) -> Option<usize> {
        let start = if self.0 < pods { self.0 } else { 0 };
        let chosen = (start..pods).chain(0..start).find(|pod| load(*pod).has_room())?;
        self.0 = chosen + 1;
        Some(chosen)
    }
}

/// The less loaded of two different pods that `random` names; of one pod, that one.
pub fn two_choices(pods: usize, random: u64, load: impl Fn(usize) -> Load) -> Option<usize> {
    let (a, b) = match pods {
        0 => return None,
        1 => return Some(0),
        2 => (0, 1),
        _ => {
            let a = scale(random & 0xffff_ffff, pods);
            let b = scale(random >> 32, pods - 1);
            (a, if b >= a { b + 1 } else { b })
        }
    };
    let (x, y) = (load(a).in_flight, load(b).in_flight);
    Some(if x < y || (x == y && random & 1 == 0) { a } else { b })
}

/// Maps 32 random bits evenly to `0..n`.
fn scale(bits: u64, n: usize) -> usize {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    usize::try_from((bits * n) >> 32).unwrap_or(0)
}

/// The pods of one of several activators, each with how many requests it may send there.
///
/// While there are at least as many pods as activators, each pod is one activator's alone. With
/// fewer pods each is shared, and so is its limit (in Knative every activator uses all of it, and
/// the requests pile up in front of the pod: the limit of 10 with two activators became 20).
pub fn assign(pods: usize, activator: Option<usize>, activators: usize, concurrency: u32) -> Vec<(usize, u32)> {
    let all = || (0..pods).map(|pod| (pod, concurrency)).collect();
    let Some(activator) = activator.filter(|activator| *activator < activators) else { return all() };
    if activators <= 1 || pods == 0 {
        return all();
    }
    if activators > pods {
        let pod = activator % pods;
        let sharers = (activators - pod).div_ceil(pods);
        let sharers = u32::try_from(sharers).unwrap_or(u32::MAX);
        let share = if concurrency == 0 { 0 } else { (concurrency / sharers).max(1) };
        return vec![(pod, share)];
    }
    let (each, rest) = (pods / activators, pods % activators);
    let first = activator * each;
    let extra = (activator < rest).then_some(pods - rest + activator);
    (first..first + each).chain(extra).map(|pod| (pod, concurrency)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loads(pods: &[(u32, u32)]) -> impl Fn(usize) -> Load {
        let pods = pods.to_vec();
        move |pod| Load { in_flight: pods[pod].0, capacity: pods[pod].1 }
    }

    #[test]
    fn pods_are_asked_in_turn() {
        let mut turn = Turn::default();
        let free = loads(&[(0, 1), (0, 1), (0, 1)]);
        let order: Vec<_> = (0..4).map(|_| turn.next(3, &free)).collect();
        assert_eq!(order, [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(turn.next(3, loads(&[(0, 1), (1, 1), (0, 1)])), Some(2));
        assert_eq!(turn.next(2, loads(&[(1, 1), (1, 1)])), None);
        assert_eq!(turn.next(0, free), None);
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen() {
        assert_eq!(two_choices(0, 7, loads(&[])), None);
        assert_eq!(two_choices(1, 7, loads(&[(9, 0)])), Some(0));
        assert_eq!(two_choices(2, 7, loads(&[(9, 0), (3, 0)])), Some(1));
        assert_eq!(two_choices(2, 8, loads(&[(3, 0), (3, 0)])), Some(0));
        assert_eq!(two_choices(2, 9, loads(&[(3, 0), (3, 0)])), Some(1));
    }

    #[test]
    fn a_shared_pod_is_shared_fairly() {
        assert_eq!(assign(2, Some(0), 3, 10), [(0, 5)]);
        assert_eq!(assign(2, Some(1), 3, 10), [(1, 10)]);
        assert_eq!(assign(2, Some(2), 3, 10), [(0, 5)]);
        assert_eq!(assign(1, Some(3), 5, 1), [(0, 1)]);
        assert_eq!(assign(20, Some(0), 3, 10).len(), 7);
        assert_eq!(assign(20, Some(2), 3, 10).len(), 6);
        assert_eq!(assign(3, None, 3, 10).len(), 3);
    }

    proptest! {
        #[test]
        fn every_pod_is_somebodys(pods in 1..40usize, activators in 1..12usize, concurrency in 0..50u32) {
            let mut seen = vec![Vec::new(); pods];
            for activator in 0..activators {
                for (pod, share) in assign(pods, Some(activator), activators, concurrency) {
                    seen[pod].push(share);
                }
            }
            for shares in seen {
                prop_assert!(!shares.is_empty());
                prop_assert!(activators > pods || shares.len() == 1);
                let sum: u32 = shares.iter().sum();
                let least = u32::try_from(shares.len()).expect("few");
                let most = if concurrency == 0 { 0 } else { concurrency.max(least) };
                prop_assert!(sum <= most);
            }
        }

        #[test]
        fn two_choices_are_pods(pods in 1..50usize, random in any::<u64>()) {
            let pod = two_choices(pods, random, |_| Load::default()).expect("a pod");
            prop_assert!(pod < pods);
        }
    }
}

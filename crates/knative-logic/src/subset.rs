//! Chooses some of several, always the same for one target: which activators stand in front of a
//! revision.
//!
//! Names are put on a circle by a hash of name and target; the choice walks the circle from an
//! angle of the target's own in steps of the target's own. So the load of many targets is even,
//! and a name that comes or goes changes few choices. The algorithm is Knative's, to the bit:
//! several controllers must agree.

use std::collections::{BTreeMap, BTreeSet};

const UNIVERSE: u64 = 1 << 11;

/// `n` of the names (all, if there are no more), always the same for one `target`.
pub fn choose<'a>(from: &BTreeSet<&'a str>, n: usize, target: &str) -> BTreeSet<&'a str> {
    if n >= from.len() {
        return from.clone();
    }
    let circle = circle(from, target);
    let step = fnv1a(&[target, "step-angle-salt"]) % UNIVERSE;
    let mut angle = fnv1a(&[target, "start-angle-salt"]) % UNIVERSE;
    let mut left = circle;
    let mut chosen = BTreeSet::new();
    while chosen.len() < n {
        // The next name on the circle that is not chosen yet, around its end if need be.
        let place = left.range(angle..).next().or_else(|| left.iter().next()).map(|(place, _)| *place);
        let Some(name) = place.and_then(|place| left.remove(&place)) else { break };
        chosen.insert(name);
        angle = (angle + step) % UNIVERSE;
    }
    chosen
}

/// Each name at its place; one whose place is taken is hashed again with its hash as salt.
fn circle<'a>(from: &BTreeSet<&'a str>, target: &str) -> BTreeMap<u64, &'a str> {
    let mut circle = BTreeMap::new();
    for name in from {
        let mut text = format!("{name}{target}");
        let mut hash = fnv1a(&[&text]);
        while circle.contains_key(&(hash % UNIVERSE)) {
            text.push_str(&format!("{hash:x}"));
            hash = fnv1a(&[&text]);
        }
        circle.insert(hash % UNIVERSE, *name);
    }
    circle
}

/// FNV-1a with 64 bits.
fn fnv1a(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        from: Vec<String>,
        n: usize,
        target: String,
        want: Vec<String>,
    }

    /// Answers of Knative's own code.
    #[test]
    fn it_chooses_as_knative_does() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../testdata/subset.json")).expect("cases");
        for case in cases {
            let from = case.from.iter().map(String::as_str).collect();
            let want: BTreeSet<&str> = case.want.iter().map(String::as_str).collect();
            assert_eq!(
                choose(&from, case.n, &case.target),
                want,
                "{} of {} for {}",
                case.n,
                case.from.len(),
                case.target
            );
        }
    }

    proptest! {
        #[test]
        fn it_chooses_as_many_as_asked(names in proptest::collection::btree_set("[a-z0-9.]{1,12}", 0..40), n in 0..50usize) {
            let from: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let chosen = choose(&from, n, "target");
            prop_assert_eq!(chosen.len(), n.min(from.len()));
            prop_assert!(chosen.is_subset(&from));
        }
    }
}

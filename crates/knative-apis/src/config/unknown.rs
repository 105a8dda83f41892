//! Keys of a ConfigMap that nothing reads: most often a known one misspelt.

use super::{EXAMPLE_KEY, known_keys};
use std::collections::BTreeMap;

/// More changed letters than this are no misspelling.
const MAX_DISTANCE: usize = 6;

/// A key that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key.
    pub key: String,
    /// The known key that is most like it, if one is.
    pub nearest: Option<&'static str>,
}

/// The keys of the ConfigMap `name` that nothing reads; empty for a map that is not Knative's.
pub fn unknown_keys(name: &str, data: &BTreeMap<String, String>) -> Vec<UnknownKey> {
    let Some(known) = known_keys(name) else { return Vec::new() };
    data.keys()
        .filter(|key| *key != EXAMPLE_KEY && !known.contains(&key.as_str()) && !is_prefixed(key))
        .map(|key| UnknownKey { key: key.clone(), nearest: nearest(key, known) })
        .collect()
}

/// Keys of which only the beginning is fixed.
fn is_prefixed(key: &str) -> bool {
    key.starts_with("map-lease-prefix.")
}

fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let best = known.iter().map(|candidate| (distance(key, candidate), *candidate)).min()?;
    (best.0 <= MAX_DISTANCE && best.0 * 2 <= key.len()).then_some(best.1)
}

/// How many letters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_shown_the_right_one() {
        let data: BTreeMap<String, String> =
            ["stable-windw", "_example", "stable-window", "something-else-entirely", "enable-scale-zero"]
                .map(|key| (key.to_owned(), String::new()))
                .into();
        let found = unknown_keys("config-autoscaler", &data);
        let found: Vec<_> = found.iter().map(|u| (u.key.as_str(), u.nearest)).collect();
        assert_eq!(
            found,
            [
                ("enable-scale-zero", Some("enable-scale-to-zero")),
                ("something-else-entirely", None),
                ("stable-windw", Some("stable-window")),
            ]
        );
        assert!(unknown_keys("config-domain", &data).is_empty());
        assert!(unknown_keys("other", &data).is_empty());
    }
}

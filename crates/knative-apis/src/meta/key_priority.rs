//! An annotation or label that has had several spellings: the first one present wins.

use std::collections::BTreeMap;

/// The spellings of one key, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPriority(pub &'static [&'static str]);

impl KeyPriority {
    /// The spelling that should be written and named in messages.
    pub fn preferred(&self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }

    /// The first spelling that is present, and its value.
    pub fn get<'a>(&self, map: &'a BTreeMap<String, String>) -> Option<(&'static str, &'a str)> {
        self.0.iter().find_map(|key| map.get(*key).map(|value| (*key, value.as_str())))
    }

    /// The value of the first spelling that is present.
    pub fn value<'a>(&self, map: &'a BTreeMap<String, String>) -> Option<&'a str> {
        self.get(map).map(|(_, value)| value)
    }

    /// Whether `key` is one of the spellings.
    pub fn is_spelling(&self, key: &str) -> bool {
        self.0.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_spelling_present_wins() {
        let keys = KeyPriority(&["min-scale", "minScale"]);
        let mut map = BTreeMap::from([("minScale".to_owned(), "1".to_owned())]);
        assert_eq!(keys.get(&map), Some(("minScale", "1")));
        map.insert("min-scale".to_owned(), "2".to_owned());
        assert_eq!(keys.get(&map), Some(("min-scale", "2")));
        assert_eq!(keys.get(&BTreeMap::new()), None);
        assert_eq!(keys.preferred(), "min-scale");
    }
}

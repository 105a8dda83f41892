//! The query of a URL.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A query's pairs, decoded; of a repeated name the last.
pub fn pairs(query: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Pairs as a query: what [`pairs`] reads back.
pub fn of(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_back() {
        let given = [("name", "hello"), ("url", "http://hello.example:8080/a b?c=d&e=+%20")];
        let read = pairs(&of(&given));
        assert_eq!(read, given.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(pairs("a=1&a=2&b+c&"), [("a", "2"), ("b c", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}

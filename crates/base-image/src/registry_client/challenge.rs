//! The `WWW-Authenticate` header: which kind of credentials a registry wants, and where tokens are made.
//!
//! Specified by: RFC 9110, section 11 (challenges); Docker's registry token authentication.

use std::collections::BTreeMap;

/// The longest header that is looked at.
const MAX_HEADER_BYTES: usize = 8 << 10;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Tokens are made at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// A name and a password.
    Basic,
}

/// The challenge to answer: tokens before passwords; `None` if there is none that is understood.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<_> = headers.filter(|header| header.len() <= MAX_HEADER_BYTES).flat_map(parse).collect();
    let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(challenges.first()).cloned()
}

/// The challenges of one header that are understood.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for item in split_items(header) {
        let (scheme, parameter) = split_scheme(&item);
        if let Some(scheme) = scheme {
            found.push((scheme.to_ascii_lowercase(), BTreeMap::new()));
        }
        if let Some((name, value)) = parameter.split_once('=')
            && let Some((_, parameters)) = found.last_mut()
        {
            parameters.insert(name.trim().to_ascii_lowercase(), unquote(value.trim()));
        }
    }
    found.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, parameters)).collect()
}

fn challenge(scheme: &str, mut parameters: BTreeMap<String, String>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    }
}

/// Splits at commas that are not quoted.
fn split_items(header: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in header.chars() {
        if c == ',' && !is_quoted {
            items.push(String::new());
            continue;
        }
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items
}

/// `Bearer realm="…"` begins a challenge, `service="…"` goes on with one.
fn split_scheme(item: &str) -> (Option<&str>, &str) {
    let item = item.trim();
    match item.split_once(' ') {
        Some((scheme, parameter)) if !scheme.contains('=') => (Some(scheme), parameter.trim()),
        None if !item.contains('=') && !item.is_empty() => (Some(item), ""),
        _ => (None, item),
    }
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn the_headers_of_real_registries() {
        let one = |header: &'static str| choose([header].into_iter());
        assert_eq!(
            one(r#"Bearer realm="https://a/token",service="registry",scope="repository:a/b:pull,push""#),
            bearer("https://a/token", Some("registry"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(
            one(r#"bearer realm=https://a/token , error="insufficient_scope""#),
            bearer("https://a/token", None, None)
        );
        assert_eq!(one(r#"Basic realm="a, Bearer realm=x""#), Some(Challenge::Basic));
        assert_eq!(one(r#"Basic realm="a", Bearer realm="b\"c""#), bearer("b\"c", None, None));
        assert_eq!(choose(["Basic", r#"Bearer realm="b""#].into_iter()), bearer("b", None, None));
        for header in ["", "Digest realm=\"x\"", "Bearer service=\"x\"", "=", ",,,"] {
            assert_eq!(choose([header].into_iter()), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(header in "(Bearer |Basic )?[a-z=\", \\\\é]{0,40}") {
            let _ = choose([header.as_str()].into_iter());
        }
    }
}

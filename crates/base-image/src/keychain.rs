//! Credentials for registries: who is asked, and the form in which Docker and Kubernetes keep them.
//!
//! A [`Keychain`] is asked for each registry request. [`Anonymous`] has nothing; [`DockerConfig`] holds what a `config.json` or a
//! pull secret (`.dockerconfigjson`, `.dockercfg`) says, matched by Kubernetes' rules: the most specific path wins, and `*` stands for a
//! part of a host's name. Helper programs and identity tokens are not used: they are for people's machines.
//! Specified by: Docker's `config.json`; Kubernetes, "Interpretation of config.json".

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::manifest::null_is_default;
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// The largest configuration. Kubernetes' secrets have the same bound.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Gives credentials for an image.
pub trait Keychain: Send + Sync {
    /// The credentials to use for `reference`, if there are any.
    fn credentials(&self, reference: &Reference) -> Option<Credentials>;
}

/// A name and a password, or a token in place of a password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

/// A keychain without keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Keychain for Anonymous {
    fn credentials(&self, _: &Reference) -> Option<Credentials> {
        None
    }
}

/// The credentials of one or several `config.json` documents.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    host: String,
    path: String,
    credentials: Credentials,
}

/// A document that holds no credentials that can be read.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    /// Larger than a secret can be.
    #[error("registry credentials have at most {MAX_CONFIG_BYTES} bytes, these have {length}")]
    TooLarge {
        /// Their length in bytes.
        length: usize,
    },
    /// Not JSON of either shape. The cause is not shown: it could quote a password.
    #[error("registry credentials must be a JSON document like docker's config.json ({{\"auths\": {{…}}}})")]
    Malformed,
    /// An `auth` field that is not `base64(user:password)`.
    #[error("the registry credentials for {host:?} are not base64 of user:password")]
    Auth {
        /// The registry.
        host: String,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
    password: String,
    #[serde(default, deserialize_with = "null_is_default")]
    auth: String,
}

impl DockerConfig {
    /// Adds a document: `{"auths": {…}}`, or the older form without the frame. Earlier documents win where both have credentials for a
    /// path.
    ///
    /// # Errors
    /// [`KeychainError`]; nothing was added then.
    pub fn add(&mut self, document: &[u8]) -> Result<(), KeychainError> {
        if document.len() > MAX_CONFIG_BYTES {
            return Err(KeychainError::TooLarge { length: document.len() });
        }
        let malformed = |_| KeychainError::Malformed;
        let value: serde_json::Value = serde_json::from_slice(document).map_err(malformed)?;
        let auths = if value.get("auths").is_some() {
            serde_json::from_value::<Document>(value).map_err(malformed)?.auths
        } else {
            serde_json::from_value(value).map_err(malformed)?
        };
        let entries = auths.into_iter().map(|(key, auth)| entry(&key, auth)).collect::<Result<Vec<_>, _>>()?;
        self.entries.extend(entries.into_iter().flatten());
        // Stable: among equals the earlier document stays first.
        self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.path.len()));
        Ok(())
    }
}

impl Keychain for DockerConfig {
    fn credentials(&self, reference: &Reference) -> Option<Credentials> {
        let matching = self.entries.iter().find(|entry| entry.matches(reference));
        matching.map(|entry| entry.credentials.clone())
    }
}

impl Entry {
    fn matches(&self, reference: &Reference) -> bool {
        matches_host(&self.host, reference.registry()) && is_path_prefix(&self.path, reference.repository())
    }
}

/// `None` for an entry without a password, as credential helpers leave them.
fn entry(key: &str, auth: Auth) -> Result<Option<Entry>, KeychainError> {
    let mut credentials = Credentials { username: auth.username, password: auth.password };
    if !auth.auth.is_empty() {
        let invalid = || KeychainError::Auth { host: key.to_owned() };
        let text = STANDARD.decode(auth.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(invalid)?;
        let (username, password) = text.split_once(':').ok_or_else(invalid)?;
        credentials = Credentials { username: username.into(), password: password.trim_end_matches('\0').into() };
    }
    if credentials.username.is_empty() && credentials.password.is_empty() {
        return Ok(None);
    }
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    // "https://index.docker.io/v1/" is how docker writes its own registry.
    let path = path.trim_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host };
    Ok(Some(Entry { host: host.to_owned(), path: path.to_owned(), credentials }))
}

fn is_path_prefix(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Label by label; `*` stands for any characters within a label. Ports must be equal.
fn matches_host(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = split_port(pattern);
    let (host, port) = split_port(host);
    let (patterns, labels): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(labels).all(|(pattern, label)| matches_label(pattern, label))
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn matches_label(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(label) = label.strip_prefix(start) else {
        return false;
    };
    let tails = label.char_indices().map(|(at, _)| at).chain([label.len()]);
    tails.into_iter().any(|at| label.get(at..).is_some_and(|tail| matches_label(rest, tail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(config: &DockerConfig, reference: &str) -> Option<String> {
        config.credentials(&reference.parse().unwrap()).map(|credentials| credentials.username)
    }

    fn config(document: &serde_json::Value) -> DockerConfig {
        let mut config = DockerConfig::default();
        config.add(document.to_string().as_bytes()).unwrap();
        config
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let auth = |name: &str| json!({"username": name, "password": "x"});
        let config = config(&json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:a:b")},
            "ghcr.io": auth("host"), "ghcr.io/org": auth("org"), "ghcr.io/org/app": auth("app"),
            "*.example.com": auth("glob"), "127.0.0.1:5000": auth("local"), "helper.example": {},
        }}));
        let table = [
            ("hello", Some("hub")),
            ("ghcr.io/other/app", Some("host")),
            ("ghcr.io/org/x", Some("org")),
            ("ghcr.io/organisation/x", Some("host")),
            ("ghcr.io/org/app:v1", Some("app")),
            ("eu.example.com/a", Some("glob")),
            ("a.b.example.com/a", None),
            ("127.0.0.1:5000/a", Some("local")),
            ("127.0.0.1:5001/a", None),
            ("helper.example/a", None),
        ];
        for (reference, expected) in table {
            assert_eq!(user(&config, reference).as_deref(), expected, "{reference}");
        }
        assert_eq!(config.credentials(&"hello".parse().unwrap()).unwrap().password, "a:b");
    }

    #[test]
    fn the_older_form_and_several_documents() {
        let mut config = config(&json!({"ghcr.io": {"username": "first", "password": "x", "email": "e"}}));
        config
            .add(json!({"auths": {"ghcr.io": {"username": "second", "password": "x"}}}).to_string().as_bytes())
            .unwrap();
        assert_eq!(user(&config, "ghcr.io/a").unwrap(), "first");
        assert_eq!(Anonymous.credentials(&"ghcr.io/a".parse().unwrap()), None);
    }

    #[test]
    fn bad_documents_are_refused_without_quoting_them() {
        let mut config = DockerConfig::default();
        for document in ["", "[]", "{\"auths\": {\"a\": \"secret\"}}", "{\"auths\": [\"secret\"]}"] {
            let error = config.add(document.as_bytes()).unwrap_err();
            assert!(!base_rt::error_chain(&error).contains("secret"), "{error}");
        }
        let auth = json!({"auths": {"a": {"auth": "%%"}}}).to_string();
        assert!(matches!(config.add(auth.as_bytes()), Err(KeychainError::Auth { .. })));
        assert!(matches!(config.add(&vec![b' '; MAX_CONFIG_BYTES + 1]), Err(KeychainError::TooLarge { .. })));
        assert!(!format!("{:?}", Credentials { username: "u".into(), password: "secret".into() }).contains("secret"));
    }

    #[test]
    fn globs_stay_within_a_label() {
        assert!(matches_host("*.io", "ghcr.io") && matches_host("a*c.io", "abbc.io") && matches_host("*", "localhost"));
        assert!(!matches_host("*.io", "a.ghcr.io") && !matches_host("a*c.io", "abb.io"));
    }
}

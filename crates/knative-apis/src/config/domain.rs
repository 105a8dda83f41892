//! config-domain: which domain a Route's hosts end in.
//!
//! Each key is a domain. An empty value makes it the default, a YAML `selector` of labels makes it
//! the domain of the Routes that carry them. Without a default everything stays inside the cluster.

use super::{ConfigError, ConfigMap, EXAMPLE_KEY};
use crate::meta::label;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The domains of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Each domain and the Routes it is for.
    pub domains: BTreeMap<String, DomainEntry>,
}

/// Which Routes a domain is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DomainEntry {
    /// Labels that a Route must carry; none: all Routes.
    pub selector: BTreeMap<String, String>,
    /// The kind of the domain; a default domain is `wildcard`.
    #[serde(rename = "type")]
    pub type_: String,
}

impl DomainEntry {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl Domain {
    /// The domain of a Route with these labels: the cluster's own if it says so, else the one with
    /// the most labels, else the first by name.
    pub fn lookup(&self, labels: &BTreeMap<String, String>, cluster_domain: &str) -> String {
        let local = format!("svc.{cluster_domain}");
        if labels.get(label::VISIBILITY).is_some_and(|visibility| visibility == label::CLUSTER_LOCAL) {
            return local;
        }
        let mut matching: Vec<_> = self.domains.iter().filter(|(_, entry)| entry.matches(labels)).collect();
        matching.sort_by_key(|(name, entry)| (std::cmp::Reverse(entry.selector.len()), (*name).clone()));
        let has_default = self.domains.values().any(|entry| entry.selector.is_empty());
        match matching.first() {
            Some((name, entry)) if has_default || !entry.selector.is_empty() => (*name).clone(),
            _ => local,
        }
    }
}

impl ConfigMap for Domain {
    const NAME: &'static str = "config-domain";
    const KEYS: &'static [&'static str] = &[];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut domains = BTreeMap::new();
        for (name, text) in data.iter().filter(|(name, _)| *name != EXAMPLE_KEY) {
            let entry: Option<DomainEntry> = super::yaml(text, "config.domainInternalConfig")
                .map_err(|message| ConfigError::Invalid(format!("{name}: {message}")))?;
            let mut entry = entry.unwrap_or_default();
            if entry.selector.is_empty() {
                "wildcard".clone_into(&mut entry.type_);
            }
            domains.insert(name.clone(), entry);
        }
        Ok(Self { domains })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_most_labels_win() {
        let domain = Domain::parse(&map(&[
            ("_example", "not read: ["),
            ("test-domain.foo.com", "selector:\n  app: foo"),
            ("foo.com", "selector:\n  app: foo\n  version: beta\n"),
            ("bar.com", "selector:\n  app: foo\n"),
            ("default.com", ""),
        ]))
        .expect("domains");
        let lookup = |labels: &[(&str, &str)]| domain.lookup(&map(labels), "cluster.local");
        assert_eq!(lookup(&[]), "default.com");
        assert_eq!(lookup(&[("app", "foo")]), "bar.com");
        assert_eq!(lookup(&[("app", "foo"), ("version", "beta")]), "foo.com");
        assert_eq!(lookup(&[("app", "foo"), (label::VISIBILITY, "cluster-local")]), "svc.cluster.local");
    }

    #[test]
    fn without_a_default_all_is_private() {
        let domain = Domain::parse(&map(&[("foo.com", "selector:\n  app: foo\n")])).expect("domains");
        assert_eq!(domain.lookup(&map(&[]), "cluster.local"), "svc.cluster.local");
        assert_eq!(domain.lookup(&map(&[("app", "foo")]), "cluster.local"), "foo.com");
        assert!(Domain::parse(&map(&[("foo.com", "selector: [1")])).is_err());
    }
}

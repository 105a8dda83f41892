//! The names under which this process's own registry is reached, which are one registry.
//!
//! `127.0.0.1:5000/a`, `localhost:5000/a` and `registry.kwick-system.svc.cluster.local/a` are the same image. The store keeps such a
//! reference under one *canonical* registry name, chosen not to depend on a port, so that images survive a change of address.

use std::collections::BTreeSet;

use crate::reference::Reference;

/// The port that a registry name without one means.
const DEFAULT_PORT: &str = ":80";

/// One registry's canonical name and its aliases.
#[derive(Clone, Debug, Default)]
pub struct OwnNames {
    canonical: String,
    aliases: BTreeSet<String>,
}

impl OwnNames {
    /// `canonical` is stored and shown; `aliases` mean the same. A name with port 80 and the name without a port are one.
    pub fn new<A: Into<String>>(canonical: impl Into<String>, aliases: impl IntoIterator<Item = A>) -> Self {
        let canonical = without_default_port(&canonical.into()).to_owned();
        let mut aliases: BTreeSet<_> =
            aliases.into_iter().map(|alias| without_default_port(&alias.into()).to_owned()).collect();
        aliases.insert(canonical.clone());
        Self { canonical, aliases }
    }

    /// The canonical registry name.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether `registry` (a host with an optional port) is this registry.
    pub fn contains(&self, registry: &str) -> bool {
        self.aliases.contains(without_default_port(registry))
    }

    /// The reference under which the store keeps the image: another registry's is unchanged.
    pub fn canonicalise(&self, reference: &Reference) -> Reference {
        if self.contains(reference.registry()) { reference.with_registry(&self.canonical) } else { reference.clone() }
    }
}

fn without_default_port(registry: &str) -> &str {
    registry.strip_suffix(DEFAULT_PORT).unwrap_or(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_is_one_image() {
        let own = OwnNames::new("registry.example", ["127.0.0.1:5000", "localhost:5000"]);
        let canonical = |text: &str| own.canonicalise(&Reference::parse(text).unwrap()).to_string();
        for text in ["127.0.0.1:5000/a:1", "localhost:5000/a:1", "registry.example/a:1", "registry.example:80/a:1"] {
            assert_eq!(canonical(text), "registry.example/a:1");
        }
        assert_eq!(canonical("localhost:5001/a:1"), "localhost:5001/a:1");
        assert_eq!(canonical("a"), "docker.io/library/a:latest");
    }
}

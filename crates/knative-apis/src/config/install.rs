//! Which ConfigMaps a new cluster gets.
//!
//! They are empty but for what only the installer knows: every key has its default. Labels are
//! those that Knative's own webhook configuration selects by.

use super::{
    Autoscaler, ConfigMap, Defaults, Deployment, Domain, Features, Gc, LeaderElection, Logging, Network, Observability,
};
use std::collections::BTreeMap;

/// Nobody reads it any more, in Knative neither. It is there for scripts that patch it.
const TRACING: &str = "config-tracing";

/// A ConfigMap to be made if it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultConfigMap {
    /// Its name, in the system namespace.
    pub name: &'static str,
    /// The part of Knative it belongs to; the value of `app.kubernetes.io/component`.
    pub component: &'static str,
    /// What it says at first.
    pub data: BTreeMap<String, String>,
}

impl DefaultConfigMap {
    /// Its labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/component".to_owned(), self.component.to_owned()),
            ("app.kubernetes.io/name".to_owned(), "knative-serving".to_owned()),
        ])
    }
}

/// The ConfigMaps of a new cluster: queue-proxy has `queue_image`, Routes end in `domain` (empty:
/// all stays inside the cluster) and `ingress_class` serves them.
pub fn defaults_to_install(queue_image: &str, domain: &str, ingress_class: &str) -> Vec<DefaultConfigMap> {
    let map = |name, component, key: &str, value: &str| DefaultConfigMap {
        name,
        component,
        data: if key.is_empty() { BTreeMap::new() } else { BTreeMap::from([(key.to_owned(), value.to_owned())]) },
    };
    vec![
        map(Autoscaler::NAME, "autoscaler", "", ""),
        map(Defaults::NAME, "controller", "", ""),
        map(Deployment::NAME, "controller", "queue-sidecar-image", queue_image),
        map(Domain::NAME, "controller", domain, ""),
        map(Features::NAME, "controller", "", ""),
        map(Gc::NAME, "controller", "", ""),
        map(LeaderElection::NAME, "controller", "", ""),
        map(Logging::NAME, "logging", "", ""),
        map(Network::NAME, "networking", "ingress-class", ingress_class),
        map(Observability::NAME, "observability", "", ""),
        map(TRACING, "tracing", "", ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    #[test]
    fn what_is_installed_is_accepted() {
        for map in defaults_to_install("registry/queue:1", "localhost", "kwick") {
            assert_eq!(check(map.name, &map.data), Ok(()), "{}", map.name);
        }
    }
}

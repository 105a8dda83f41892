//! Knative's ConfigMaps: what operators may set, one file per map.
//!
//! Every module has the type with its defaults, `NAME`, `KEYS` (each key that is read, the
//! preferred spelling first) and `parse`. A value that cannot be is refused with Knative's text;
//! an unknown key is ignored, and [`unknown_keys`] finds the nearest known one for a warning.
//! [`defaults_to_install`] says which maps a new cluster gets.

mod autoscaler;
mod defaults;
mod deployment;
mod domain;
mod features;
mod gc;
mod install;
mod leader_election;
mod logging;
mod network;
mod observability;
mod reader;
mod unknown;

pub use autoscaler::Autoscaler;
pub use defaults::{Defaults, NameTemplate};
pub use deployment::{AffinityType, Deployment, RuntimeClassSelector};
pub use domain::{Domain, DomainEntry};
pub use features::{Features, Flag};
pub use gc::Gc;
pub use install::{DefaultConfigMap, defaults_to_install};
pub use leader_election::LeaderElection;
pub use logging::Logging;
pub use network::{
    CERT_MANAGER_CLASS, DomainTemplateValues, HttpProtocol, ISTIO_INGRESS_CLASS, MeshCompatibilityMode, Network,
};
pub use observability::{DEFAULT_REQUEST_LOG_TEMPLATE, Metrics, Observability, Tracing};
pub use unknown::{UnknownKey, unknown_keys};

use serde_json::Value;
use std::collections::BTreeMap;

/// The key of a ConfigMap that documents the others; it is never read.
pub const EXAMPLE_KEY: &str = "_example";

/// Why a ConfigMap is refused. The texts are Knative's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value does not have the form it must have.
    #[error("failed to parse {}: {message}", crate::go_text::quote(.key))]
    Parse {
        /// The key.
        key: String,
        /// What is wrong with the value.
        message: String,
    },
    /// The same, in a map whose errors say so twice. Its text has all of it, so it has no source.
    #[error("failed to parse data: {0}")]
    Data(Box<ConfigError>),
    /// A value is not one of those it can be.
    #[error("{0}")]
    Invalid(String),
}

/// A ConfigMap that has a type.
pub trait ConfigMap: Sized + Default {
    /// Its name.
    const NAME: &'static str;
    /// Every key that is read.
    const KEYS: &'static [&'static str];

    /// Reads it; what is absent has its default.
    ///
    /// # Errors
    /// Knative's text for the first value that cannot be.
    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError>;
}

/// What admission looks at: the operator's limits and defaults, and the cluster's domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Configs {
    /// Defaults and limits of revisions.
    pub defaults: Defaults,
    /// What users may ask for.
    pub features: Features,
    /// Limits of scale.
    pub autoscaler: Autoscaler,
    /// The DNS domain of the cluster.
    pub cluster_domain: String,
}

impl Default for Configs {
    fn default() -> Self {
        Self {
            defaults: Defaults::default(),
            features: Features::default(),
            autoscaler: Autoscaler::default(),
            cluster_domain: crate::meta::CLUSTER_DOMAIN.to_owned(),
        }
    }
}

/// Whether `name` is a ConfigMap of Knative's.
pub fn is_knatives(name: &str) -> bool {
    name == Domain::NAME || name == Logging::NAME || known_keys(name).is_some()
}

/// Looks at the data of the ConfigMap `name`; one that is not Knative's is good.
///
/// # Errors
/// Knative's text for the first value that cannot be.
pub fn check(name: &str, data: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    match name {
        Autoscaler::NAME => Autoscaler::parse(data).map(drop),
        Defaults::NAME => Defaults::parse(data).map(drop),
        Deployment::NAME => Deployment::parse(data).map(drop),
        Domain::NAME => Domain::parse(data).map(drop),
        Features::NAME => Features::parse(data).map(drop),
        Gc::NAME => Gc::parse(data).map(drop),
        LeaderElection::NAME => LeaderElection::parse(data).map(drop),
        Logging::NAME => Logging::parse(data).map(drop),
        Network::NAME => Network::parse(data).map(drop),
        Observability::NAME => Observability::parse(data).map(drop),
        _ => Ok(()),
    }
}

/// The keys that the ConfigMap of this name knows; `None` if it is not one of Knative's, or any
/// key is data there (config-domain).
pub fn known_keys(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        Autoscaler::NAME => Autoscaler::KEYS,
        Defaults::NAME => Defaults::KEYS,
        Deployment::NAME => Deployment::KEYS,
        Features::NAME => Features::KEYS,
        Gc::NAME => Gc::KEYS,
        LeaderElection::NAME => LeaderElection::KEYS,
        Network::NAME => Network::KEYS,
        Observability::NAME => Observability::KEYS,
        _ => return None,
    })
}

/// Reads a value that is a YAML mapping. `go_type` is the name of its type in Knative's message.
fn yaml<T: serde::de::DeserializeOwned>(text: &str, go_type: &str) -> Result<Option<T>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let found = match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(_) | Value::Null) => "",
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Err(error) => return Err(format!("error converting YAML to JSON: yaml: {}", headline(&error))),
    };
    let problem = if found.is_empty() {
        match serde_saphyr::from_str(text) {
            Ok(read) => return Ok(read),
            Err(error) => headline(&error),
        }
    } else {
        format!("cannot unmarshal {found} into Go value of type {go_type}")
    };
    Err(format!("error unmarshaling JSON: while decoding JSON: json: {problem}"))
}

/// What is wrong, without the excerpt of the text that follows.
fn headline(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

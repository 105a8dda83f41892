//! config-deployment: how a revision becomes a Deployment.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use crate::duration;
use crate::go_text::{list, quote};
use crate::quantity::Quantity;
use crate::validation::names;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Where the scheduler should put the pods of one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityType {
    /// Wherever it likes.
    None,
    /// On different nodes, if it can.
    PreferSpreadRevisionOverNodes,
}

/// Which revisions a runtime class is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeClassSelector {
    /// Labels that a revision must carry; none: all revisions.
    pub selector: BTreeMap<String, String>,
}

/// The operator's settings of Deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The image of queue-proxy.
    pub queue_sidecar_image: String,
    /// Registries whose tags are not resolved to digests.
    pub registries_skipping_tag_resolving: BTreeSet<String>,
    /// How long one resolution may take.
    pub digest_resolution_timeout: SignedDuration,
    /// How long a revision may take to become ready.
    pub progress_deadline: SignedDuration,
    /// CPU request of queue-proxy.
    pub queue_sidecar_cpu_request: Option<Quantity>,
    /// CPU limit of queue-proxy.
    pub queue_sidecar_cpu_limit: Option<Quantity>,
    /// Memory request of queue-proxy.
    pub queue_sidecar_memory_request: Option<Quantity>,
    /// Memory limit of queue-proxy.
    pub queue_sidecar_memory_limit: Option<Quantity>,
    /// Request of ephemeral storage of queue-proxy.
    pub queue_sidecar_ephemeral_storage_request: Option<Quantity>,
    /// Limit of ephemeral storage of queue-proxy.
    pub queue_sidecar_ephemeral_storage_limit: Option<Quantity>,
    /// Audiences of the tokens that queue-proxy gets.
    pub queue_sidecar_token_audiences: BTreeSet<String>,
    /// Certificate authorities that queue-proxy trusts, in PEM.
    pub queue_sidecar_root_ca: String,
    /// The oldest TLS version that queue-proxy speaks.
    pub queue_sidecar_tls_min_version: String,
    /// The newest TLS version that queue-proxy speaks.
    pub queue_sidecar_tls_max_version: String,
    /// The cipher suites that queue-proxy speaks.
    pub queue_sidecar_tls_cipher_suites: String,
    /// The curves that queue-proxy prefers.
    pub queue_sidecar_tls_curve_preferences: String,
    /// Where pods should be put.
    pub default_affinity_type: AffinityType,
    /// Runtime classes and the revisions they are for.
    pub runtime_class_names: BTreeMap<String, RuntimeClassSelector>,
    /// Whether a pod that cannot be scheduled yet is waited for: nodes are made on demand.
    pub pod_is_always_schedulable: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            queue_sidecar_image: String::new(),
            registries_skipping_tag_resolving: ["kind.local", "ko.local", "dev.local"].map(str::to_owned).into(),
            digest_resolution_timeout: SignedDuration::from_secs(10),
            progress_deadline: SignedDuration::from_secs(600),
            queue_sidecar_cpu_request: Some(Quantity::from_milli(25)),
            queue_sidecar_cpu_limit: None,
            queue_sidecar_memory_request: None,
            queue_sidecar_memory_limit: None,
            queue_sidecar_ephemeral_storage_request: None,
            queue_sidecar_ephemeral_storage_limit: None,
            queue_sidecar_token_audiences: BTreeSet::new(),
            queue_sidecar_root_ca: String::new(),
            queue_sidecar_tls_min_version: String::new(),
            queue_sidecar_tls_max_version: String::new(),
            queue_sidecar_tls_cipher_suites: String::new(),
            queue_sidecar_tls_curve_preferences: String::new(),
            default_affinity_type: AffinityType::PreferSpreadRevisionOverNodes,
            runtime_class_names: BTreeMap::new(),
            pod_is_always_schedulable: false,
        }
    }
}

impl ConfigMap for Deployment {
    const NAME: &'static str = "config-deployment";
    const KEYS: &'static [&'static str] = &[
        "default-affinity-type",
        "digest-resolution-timeout",
        "digestResolutionTimeout",
        "pod-is-always-schedulable",
        "progress-deadline",
        "progressDeadline",
        "queue-sidecar-cpu-limit",
        "queue-sidecar-cpu-request",
        "queue-sidecar-ephemeral-storage-limit",
        "queue-sidecar-ephemeral-storage-request",
        "queue-sidecar-image",
        "queue-sidecar-memory-limit",
        "queue-sidecar-memory-request",
        "queue-sidecar-rootca",
        "queue-sidecar-tls-cipher-suites",
        "queue-sidecar-tls-curve-preferences",
        "queue-sidecar-tls-max-version",
        "queue-sidecar-tls-min-version",
        "queue-sidecar-token-audiences",
        "queueSidecarCPULimit",
        "queueSidecarCPURequest",
        "queueSidecarEphemeralStorageLimit",
        "queueSidecarEphemeralStorageRequest",
        "queueSidecarImage",
        "queueSidecarMemoryLimit",
        "queueSidecarMemoryRequest",
        "registries-skipping-tag-resolving",
        "registriesSkippingTagResolving",
        "runtime-class-name",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let data = Reader(data);
        config.read(data)?;
        config.read_sidecar(data)?;
        if let Some(problem) = config.problem() {
            return Err(ConfigError::Invalid(problem));
        }
        config.read_affinity(data)?;
        config.read_runtime_classes(data)?;
        Ok(config)
    }
}

impl Deployment {
    /// The runtime class of a revision with these labels: the one with the most labels, else the
    /// first by name.
    pub fn runtime_class_name(&self, labels: &BTreeMap<String, String>) -> Option<&str> {
        let matches =
            |class: &RuntimeClassSelector| class.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        self.runtime_class_names
            .iter()
            .filter(|(_, class)| matches(class))
            .max_by_key(|(name, class)| (class.selector.len(), std::cmp::Reverse(*name)))
            .map(|(name, _)| name.as_str())
    }

    fn read(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        for key in ["queueSidecarImage", "queue-sidecar-image"] {
            data.string(key, &mut self.queue_sidecar_image)?;
        }
        for key in ["progressDeadline", "progress-deadline"] {
            data.duration(key, &mut self.progress_deadline)?;
        }
        for key in ["digestResolutionTimeout", "digest-resolution-timeout"] {
            data.duration(key, &mut self.digest_resolution_timeout)?;
        }
        for key in ["registriesSkippingTagResolving", "registries-skipping-tag-resolving"] {
            data.string_set(key, &mut self.registries_skipping_tag_resolving)?;
        }
        data.bool("pod-is-always-schedulable", &mut self.pod_is_always_schedulable)
    }

    fn read_sidecar(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        let quantities = [
            ("queueSidecarCPURequest", "queue-sidecar-cpu-request", &mut self.queue_sidecar_cpu_request),
            ("queueSidecarMemoryRequest", "queue-sidecar-memory-request", &mut self.queue_sidecar_memory_request),
            (
                "queueSidecarEphemeralStorageRequest",
                "queue-sidecar-ephemeral-storage-request",
                &mut self.queue_sidecar_ephemeral_storage_request,
            ),
            ("queueSidecarCPULimit", "queue-sidecar-cpu-limit", &mut self.queue_sidecar_cpu_limit),
            ("queueSidecarMemoryLimit", "queue-sidecar-memory-limit", &mut self.queue_sidecar_memory_limit),
            (
                "queueSidecarEphemeralStorageLimit",
                "queue-sidecar-ephemeral-storage-limit",
                &mut self.queue_sidecar_ephemeral_storage_limit,
            ),
        ];
        for (old, new, target) in quantities {
            data.quantity(old, target)?;
            data.quantity(new, target)?;
        }
        data.string_set("queue-sidecar-token-audiences", &mut self.queue_sidecar_token_audiences)?;
        self.queue_sidecar_token_audiences.remove("");
        data.string("queue-sidecar-rootca", &mut self.queue_sidecar_root_ca)?;
        data.string("queue-sidecar-tls-min-version", &mut self.queue_sidecar_tls_min_version)?;
        data.string("queue-sidecar-tls-max-version", &mut self.queue_sidecar_tls_max_version)?;
        data.string("queue-sidecar-tls-cipher-suites", &mut self.queue_sidecar_tls_cipher_suites)?;
        data.string("queue-sidecar-tls-curve-preferences", &mut self.queue_sidecar_tls_curve_preferences)
    }

    fn problem(&self) -> Option<String> {
        let (deadline, timeout) = (self.progress_deadline, self.digest_resolution_timeout);
        if self.queue_sidecar_image.is_empty() {
            Some("queue-sidecar-image cannot be empty or unset".to_owned())
        } else if deadline <= SignedDuration::ZERO {
            let shown = duration::format(deadline);
            Some(format!("progress-deadline cannot be a non-positive duration, was {shown}"))
        } else if !duration::is_whole_seconds(deadline) {
            let shown = duration::format(deadline);
            Some(format!("progress-deadline must be rounded to a whole second, was: {shown}"))
        } else if timeout <= SignedDuration::ZERO {
            let shown = duration::format(timeout);
            Some(format!("digest-resolution-timeout cannot be a non-positive duration, was {shown}"))
        } else {
            None
        }
    }

    fn read_affinity(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        self.default_affinity_type = match data.text("default-affinity-type") {
            None | Some("prefer-spread-revision-over-nodes") => AffinityType::PreferSpreadRevisionOverNodes,
            Some("none") => AffinityType::None,
            Some(other) => {
                let message = format!("unsupported default-affinity-type value: {}", quote(other));
                return Err(ConfigError::Invalid(message));
            }
        };
        Ok(())
    }

    fn read_runtime_classes(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        let key = "runtime-class-name";
        let text = data.text(key).unwrap_or_default();
        let classes: Option<BTreeMap<String, Option<RuntimeClassSelector>>> =
            super::yaml(text, "map[string]deployment.RuntimeClassNameLabelSelector").map_err(|message| {
                ConfigError::Invalid(format!("{key} cannot be parsed, please check the format: {message}"))
            })?;
        for (name, class) in classes.unwrap_or_default() {
            let class = class.unwrap_or_default();
            let problems = names::dns1123_subdomain(&name);
            if !problems.is_empty() {
                let problems = list(&problems);
                return Err(ConfigError::Invalid(format!("{key} {name} selector not valid DNSSubdomain: {problems}")));
            }
            let bad = class
                .selector
                .iter()
                .flat_map(|(label, value)| names::qualified_name(label).into_iter().chain(names::label_value(value)));
            if let Some(problem) = bad.into_iter().next() {
                return Err(ConfigError::Invalid(format!("{key} {name} selector invalid: {problem}")));
            }
            self.runtime_class_names.insert(name, class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn parse(entries: &[(&str, &str)]) -> Result<Deployment, String> {
        let mut data = map(&[("queue-sidecar-image", "image")]);
        data.extend(map(entries));
        Deployment::parse(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        let config = parse(&[
            ("queueSidecarCPULimit", "1"),
            ("registries-skipping-tag-resolving", "ko.local, dev.local"),
            ("progress-deadline", "444s"),
            ("default-affinity-type", "none"),
            ("queue-sidecar-token-audiences", "a, b"),
            ("runtime-class-name", "kata: {}\ngvisor:\n  selector:\n    my-label: selector\n"),
        ])
        .expect("good values");
        assert_eq!(config.queue_sidecar_cpu_limit, Quantity::parse("1").ok());
        assert_eq!(config.progress_deadline, SignedDuration::from_secs(444));
        assert_eq!(
            config.registries_skipping_tag_resolving,
            BTreeSet::from(["dev.local".to_owned(), "ko.local".to_owned()])
        );
        assert_eq!(config.default_affinity_type, AffinityType::None);
        assert_eq!(config.runtime_class_name(&map(&[("my-label", "selector")])), Some("gvisor"));
        assert_eq!(config.runtime_class_name(&map(&[])), Some("kata"));
        assert_eq!(config.queue_sidecar_token_audiences.len(), 2);
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (key, value, message) in [
            ("queue-sidecar-image", "", "queue-sidecar-image cannot be empty or unset"),
            ("progress-deadline", "-1s", "progress-deadline cannot be a non-positive duration, was -1s"),
            ("progress-deadline", "1.5s", "progress-deadline must be rounded to a whole second, was: 1.5s"),
            (
                "digest-resolution-timeout",
                "-1s",
                "digest-resolution-timeout cannot be a non-positive duration, was -1s",
            ),
            (
                "progress-deadline",
                "not-a-duration",
                "failed to parse \"progress-deadline\": time: invalid duration \"not-a-duration\"",
            ),
            ("default-affinity-type", "coconut", "unsupported default-affinity-type value: \"coconut\""),
        ] {
            assert_eq!(parse(&[(key, value)]).expect_err(key), message);
        }
        let bad_yaml = parse(&[("runtime-class-name", "a: [")]).expect_err("bad YAML");
        assert!(bad_yaml.starts_with("runtime-class-name cannot be parsed, please check the format: "), "{bad_yaml}");
        let bad_name = parse(&[("runtime-class-name", "A_B: {}")]).expect_err("bad name");
        assert!(bad_name.starts_with("runtime-class-name A_B selector not valid DNSSubdomain: ["), "{bad_name}");
    }
}

//! config-defaults: what a revision has when its author says nothing, and how much it may ask for.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use crate::field_error::out_of_bounds;
use crate::meta::annotations;
use crate::quantity::Quantity;
use crate::template::{Fields, Template, Value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// The operator's defaults and limits of revisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// How long a request may take.
    pub revision_timeout_seconds: i64,
    /// The most that a revision may ask for.
    pub max_revision_timeout_seconds: i64,
    /// How long a request may wait for the first byte of its response.
    pub revision_response_start_timeout_seconds: i64,
    /// How long a response may pause; 0 is no limit.
    pub revision_idle_timeout_seconds: i64,
    /// The name of init containers without one.
    pub init_container_name: NameTemplate,
    /// The name of containers without one.
    pub user_container_name: NameTemplate,
    /// How many requests one pod takes at a time; 0 is any number.
    pub container_concurrency: i64,
    /// The most that a revision may ask for.
    pub container_concurrency_max_limit: i64,
    /// Whether a revision may ask for any number.
    pub allow_container_concurrency_zero: bool,
    /// Whether pods get variables for every Service of their namespace; `None` leaves it to Kubernetes.
    pub enable_service_links: Option<bool>,
    /// CPU requests of containers.
    pub revision_cpu_request: Option<Quantity>,
    /// CPU limits of containers.
    pub revision_cpu_limit: Option<Quantity>,
    /// Memory requests of containers.
    pub revision_memory_request: Option<Quantity>,
    /// Memory limits of containers.
    pub revision_memory_limit: Option<Quantity>,
    /// Requests of ephemeral storage of containers.
    pub revision_ephemeral_storage_request: Option<Quantity>,
    /// Limits of ephemeral storage of containers.
    pub revision_ephemeral_storage_limit: Option<Quantity>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            revision_timeout_seconds: 300,
            max_revision_timeout_seconds: 600,
            revision_response_start_timeout_seconds: 300,
            revision_idle_timeout_seconds: 0,
            init_container_name: NameTemplate::Fixed("init-container".to_owned()),
            user_container_name: NameTemplate::Fixed("user-container".to_owned()),
            container_concurrency: 0,
            container_concurrency_max_limit: 1000,
            allow_container_concurrency_zero: true,
            enable_service_links: Some(false),
            revision_cpu_request: None,
            revision_cpu_limit: None,
            revision_memory_request: None,
            revision_memory_limit: None,
            revision_ephemeral_storage_request: None,
            revision_ephemeral_storage_limit: None,
        }
    }
}

/// A container's name, which may depend on the object it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTemplate {
    /// The same for all.
    Fixed(String),
    /// Made from the metadata of the Service or Configuration.
    Made(Template),
}

impl NameTemplate {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let template =
            Template::parse("container-template", text).map_err(|error| ConfigError::Invalid(error.to_string()))?;
        template
            .execute(&Metadata(&ObjectMeta::default()))
            .map_err(|error| ConfigError::Invalid(format!("error executing template: {error}")))?;
        Ok(Self::Made(template))
    }

    /// The name for a container in an object with this metadata.
    pub fn name(&self, parent: &ObjectMeta) -> String {
        match self {
            Self::Fixed(name) => name.clone(),
            Self::Made(template) => template.execute(&Metadata(parent)).unwrap_or_default(),
        }
    }
}

struct Metadata<'a>(&'a ObjectMeta);

impl Fields for Metadata<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let [name] = path else { return None };
        let text = |value: &'_ Option<String>| Value::Text(value.clone().unwrap_or_default().into());
        Some(match name.as_str() {
            "Name" => text(&self.0.name),
            "GenerateName" => text(&self.0.generate_name),
            "Namespace" => text(&self.0.namespace),
            "UID" => text(&self.0.uid),
            "Labels" => Value::Map(crate::meta::labels(self.0)),
            "Annotations" => Value::Map(annotations(self.0)),
            _ => return None,
        })
    }
}

impl ConfigMap for Defaults {
    const NAME: &'static str = "config-defaults";
    const KEYS: &'static [&'static str] = &[
        "allow-container-concurrency-zero",
        "container-concurrency",
        "container-concurrency-max-limit",
        "container-name-template",
        "enable-service-links",
        "init-container-name-template",
        "max-revision-timeout-seconds",
        "revision-cpu-limit",
        "revision-cpu-request",
        "revision-ephemeral-storage-limit",
        "revision-ephemeral-storage-request",
        "revision-idle-timeout-seconds",
        "revision-memory-limit",
        "revision-memory-request",
        "revision-response-start-timeout-seconds",
        "revision-timeout-seconds",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.read(Reader(data))?;
        match config.problem() {
            Some(problem) => Err(ConfigError::Invalid(problem)),
            None => Ok(config),
        }
    }
}

impl Defaults {
    fn read(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        if let Some(text) = data.text("init-container-name-template") {
            self.init_container_name = NameTemplate::parse(text)?;
        }
        if let Some(text) = data.text("container-name-template") {
            self.user_container_name = NameTemplate::parse(text)?;
        }
        data.bool("allow-container-concurrency-zero", &mut self.allow_container_concurrency_zero)?;
        if let Some(text) = data.text("enable-service-links") {
            self.enable_service_links = match text.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            };
        }
        data.int("revision-timeout-seconds", &mut self.revision_timeout_seconds)?;
        data.int("max-revision-timeout-seconds", &mut self.max_revision_timeout_seconds)?;
        data.int("revision-idle-timeout-seconds", &mut self.revision_idle_timeout_seconds)?;
        data.int("container-concurrency", &mut self.container_concurrency)?;
        data.int("container-concurrency-max-limit", &mut self.container_concurrency_max_limit)?;
        data.quantity("revision-cpu-request", &mut self.revision_cpu_request)?;
        data.quantity("revision-memory-request", &mut self.revision_memory_request)?;
        data.quantity("revision-ephemeral-storage-request", &mut self.revision_ephemeral_storage_request)?;
        data.quantity("revision-cpu-limit", &mut self.revision_cpu_limit)?;
        data.quantity("revision-memory-limit", &mut self.revision_memory_limit)?;
        data.quantity("revision-ephemeral-storage-limit", &mut self.revision_ephemeral_storage_limit)?;
        self.revision_response_start_timeout_seconds = self.revision_timeout_seconds;
        data.int("revision-response-start-timeout-seconds", &mut self.revision_response_start_timeout_seconds)
    }

    fn problem(&self) -> Option<String> {
        let timeout = self.revision_timeout_seconds;
        let max = self.max_revision_timeout_seconds;
        let limit = self.container_concurrency_max_limit;
        if timeout > max {
            let name = "max-revision-timeout-seconds";
            return Some(format!("revision-timeout-seconds ({timeout}) cannot be greater than {name} ({max})"));
        }
        for (name, value) in [
            ("revision-response-start-timeout-seconds", self.revision_response_start_timeout_seconds),
            ("revision-idle-timeout-seconds", self.revision_idle_timeout_seconds),
        ] {
            if value > 0 && value > timeout {
                return Some(format!("{name} ({value}) cannot be greater than revision-timeout-seconds ({timeout})"));
            }
        }
        if limit < 1 {
            return Some(out_of_bounds(limit, 1, i32::MAX, "container-concurrency-max-limit").to_string());
        }
        if !(0..=limit).contains(&self.container_concurrency) {
            return Some(out_of_bounds(self.container_concurrency, 0, limit, "container-concurrency").to_string());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Defaults, String> {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Defaults::parse(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        let config = parse(&[
            ("revision-timeout-seconds", "123"),
            ("revision-cpu-request", "123m"),
            ("container-name-template", "{{.Name}}-{{index .Labels \"app\"}}"),
            ("enable-service-links", "default"),
        ])
        .expect("good values");
        assert_eq!(config.revision_timeout_seconds, 123);
        assert_eq!(config.revision_response_start_timeout_seconds, 123);
        assert_eq!(config.revision_cpu_request, Quantity::parse("123m").ok());
        assert_eq!(config.enable_service_links, None);
        let parent = ObjectMeta {
            name: Some("hello".to_owned()),
            labels: Some(BTreeMap::from([("app".to_owned(), "x".to_owned())])),
            ..ObjectMeta::default()
        };
        assert_eq!(config.user_container_name.name(&parent), "hello-x");
        assert_eq!(config.init_container_name.name(&parent), "init-container");
        assert_eq!(parse(&[]).expect("nothing"), Defaults::default());
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (key, value, message) in [
            (
                "revision-timeout-seconds",
                "asdf",
                "failed to parse \"revision-timeout-seconds\": strconv.ParseInt: parsing \"asdf\": invalid syntax",
            ),
            (
                "revision-timeout-seconds",
                "601",
                "revision-timeout-seconds (601) cannot be greater than max-revision-timeout-seconds (600)",
            ),
            (
                "revision-idle-timeout-seconds",
                "301",
                "revision-idle-timeout-seconds (301) cannot be greater than revision-timeout-seconds (300)",
            ),
            ("container-concurrency-max-limit", "0", "expected 1 <= 0 <= 2147483647: container-concurrency-max-limit"),
            ("container-concurrency", "2000", "expected 0 <= 2000 <= 1000: container-concurrency"),
            (
                "revision-cpu-request",
                "bad",
                "failed to parse \"revision-cpu-request\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
        ] {
            assert_eq!(parse(&[(key, value)]).expect_err(key), message);
        }
        assert!(
            parse(&[("container-name-template", "{{.NAme}}")])
                .expect_err("no field")
                .contains("error executing template")
        );
        assert!(parse(&[("container-name-template", "{{animals-being-bros]]")]).is_err());
    }
}

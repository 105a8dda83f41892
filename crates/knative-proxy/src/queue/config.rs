//! queue-proxy's configuration: Knative's environment variables, read by one parser for the process and for the role inside Kwick.
//!
//! Names, defaults and error texts are those of Knative's `envconfig`. A variable that is required must be there; it may be empty where its
//! type has an empty value.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Probe;
use knative_apis::meta::{Key, port};
use serde::Deserialize;

use crate::timeouts::Timeouts;

/// Why an environment is none.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A required variable is not there.
    #[error("required key {0} missing value")]
    Missing(&'static str),
    /// A variable cannot be read.
    #[error("envconfig.Process: assigning {variable}: converting '{value}' to type {wanted}")]
    Convert {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The readiness probe is no probe.
    #[error("failed to parse readiness probe")]
    Probe(#[source] serde_json::Error),
    /// The readiness probe has no action, or one that queue-proxy cannot run.
    #[error("SERVING_READINESS_PROBE must have httpGet, tcpSocket or grpc with a port number")]
    ProbeAction,
    /// The observability configuration cannot be read.
    #[error("failed to parse OBSERVABILITY_CONFIG")]
    Observability(#[source] serde_json::Error),
}

/// What queue-proxy is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Revision that the Pod belongs to.
    pub revision: Key,
    /// The name of its Service, if it has one.
    pub service: String,
    /// The name of its Configuration.
    pub configuration: String,
    /// The Pod.
    pub pod: String,
    /// Its address, if it is known.
    pub pod_ip: Option<IpAddr>,
    /// Where it serves: 8012, or 8013 if the user's container speaks HTTP/2.
    pub serving_port: u16,
    /// Where it serves TLS.
    pub serving_tls_port: u16,
    /// Where the user's container listens on 127.0.0.1.
    pub user_port: u16,
    /// Requests that the container takes at a time; 0 is any number.
    pub concurrency: u32,
    /// The Revision's time bounds.
    pub timeouts: Timeouts,
    /// How the containers say that they are ready; empty: always.
    pub readiness_probes: Vec<Probe>,
    /// Whether and how requests are logged.
    pub observability: Observability,
}

/// What of config-observability matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Whether requests are logged.
    pub enable_request_log: bool,
    /// How.
    pub request_log_template: String,
    /// Whether probes are logged too.
    pub enable_probe_request_log: bool,
    /// Whether metrics of requests are shown.
    pub request_metrics: RequestMetrics,
}

/// Where metrics of requests go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RequestMetrics {
    /// `none`, `prometheus`, `http/protobuf` or `grpc`.
    pub protocol: String,
}

/// The probes of several containers are a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Probes {
    Several(Vec<Probe>),
    One(Box<Probe>),
}

struct Environment<'e>(&'e BTreeMap<String, String>);

impl Environment<'_> {
    fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.0.get(name).map(String::as_str).ok_or(ConfigError::Missing(name))
    }

    fn optional(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, ConfigError> {
        let value = self.required(name)?;
        value.parse().map_err(|_| ConfigError::Convert { variable: name, value: value.to_owned(), wanted: "int" })
    }

    fn optional_number(&self, name: &'static str) -> Result<i64, ConfigError> {
        if self.0.contains_key(name) { self.number(name) } else { Ok(0) }
    }
}

impl Config {
    /// Reads an environment.
    ///
    /// # Errors
    /// A variable is missing, or is not what it should be.
    pub fn from_env(environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let env = Environment(environment);
        env.required("SERVING_LOGGING_CONFIG")?;
        env.required("SERVING_LOGGING_LEVEL")?;
        let timeouts = Timeouts::of_seconds(
            env.number("REVISION_TIMEOUT_SECONDS")?,
            env.optional_number("REVISION_RESPONSE_START_TIMEOUT_SECONDS")?,
            env.optional_number("REVISION_IDLE_TIMEOUT_SECONDS")?,
        );
        let pod_ip = env.required("SERVING_POD_IP")?;
        let concurrency: i64 = env.number("CONTAINER_CONCURRENCY")?;
        Ok(Self {
            revision: Key::new(env.required("SERVING_NAMESPACE")?, env.required("SERVING_REVISION")?),
            service: env.optional("SERVING_SERVICE").to_owned(),
            configuration: env.required("SERVING_CONFIGURATION")?.to_owned(),
            pod: env.required("SERVING_POD")?.to_owned(),
            pod_ip: pod_ip.parse().ok(),
            serving_port: env.number("QUEUE_SERVING_PORT")?,
            serving_tls_port: env.number("QUEUE_SERVING_TLS_PORT")?,
            user_port: env.number("USER_PORT")?,
            concurrency: u32::try_from(concurrency).unwrap_or_default(),
            timeouts,
            readiness_probes: parse_probes(env.optional("SERVING_READINESS_PROBE"))?,
            observability: parse_observability(env.optional("OBSERVABILITY_CONFIG"))?,
        })
    }

    /// Whether the user's container speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        i32::from(self.serving_port) == port::BACKEND_HTTP2
    }
}

fn parse_probes(text: &str) -> Result<Vec<Probe>, ConfigError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match serde_json::from_str(text).map_err(ConfigError::Probe)? {
        Probes::Several(probes) => probes,
        Probes::One(probe) => vec![*probe],
    })
}

fn parse_observability(text: &str) -> Result<Observability, ConfigError> {
    if text.is_empty() {
        Ok(Observability::default())
    } else {
        serde_json::from_str(text).map_err(ConfigError::Observability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ENVIRONMENT: &[(&str, &str)] = &[
        ("SERVING_NAMESPACE", "default"),
        ("SERVING_SERVICE", "hello"),
        ("SERVING_CONFIGURATION", "hello"),
        ("SERVING_REVISION", "hello-00001"),
        ("QUEUE_SERVING_PORT", "8012"),
        ("QUEUE_SERVING_TLS_PORT", "8112"),
        ("CONTAINER_CONCURRENCY", "10"),
        ("REVISION_TIMEOUT_SECONDS", "300"),
        ("REVISION_RESPONSE_START_TIMEOUT_SECONDS", "0"),
        ("REVISION_IDLE_TIMEOUT_SECONDS", "7"),
        ("SERVING_POD", "hello-00001-deployment-abc"),
        ("SERVING_POD_IP", "10.0.0.1"),
        ("SERVING_LOGGING_CONFIG", ""),
        ("SERVING_LOGGING_LEVEL", ""),
        ("USER_PORT", "8080"),
        ("SYSTEM_NAMESPACE", "knative-serving"),
        ("SERVING_READINESS_PROBE", r#"{"successThreshold":1,"tcpSocket":{"host":"127.0.0.1","port":8080}}"#),
        ("OBSERVABILITY_CONFIG", r#"{"requestMetrics":{"protocol":"prometheus"},"enableRequestLog":true}"#),
    ];

    fn environment(changes: &[(&str, Option<&str>)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (name, value) in changes {
            match value {
                Some(value) => drop(all.insert((*name).to_owned(), (*value).to_owned())),
                None => drop(all.remove(*name)),
            }
        }
        all
    }

    #[test]
    fn what_is_told() {
        let config = Config::from_env(&environment(&[])).unwrap();
        assert_eq!(config.revision.to_string(), "default/hello-00001");
        assert_eq!((config.concurrency, config.user_port, config.is_http2()), (10, 8080, false));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(config.timeouts, Timeouts { total: seconds(300), response_start: None, idle: seconds(7) });
        assert_eq!(config.readiness_probes.len(), 1);
        assert!(config.observability.enable_request_log);
        assert_eq!(config.observability.request_metrics.protocol, "prometheus");
        let several = environment(&[
            ("SERVING_READINESS_PROBE", Some(r#"[{"httpGet":{"port":8080}},{"grpc":{"port":90}}]"#)),
            ("QUEUE_SERVING_PORT", Some("8013")),
            ("OBSERVABILITY_CONFIG", None),
            ("SERVING_POD_IP", Some("")),
        ]);
        let config = Config::from_env(&several).unwrap();
        assert_eq!((config.readiness_probes.len(), config.is_http2(), config.pod_ip), (2, true, None));
    }

    #[test]
    fn what_is_wrong() {
        for (change, expected) in [
            (("SERVING_POD", None), "required key SERVING_POD missing value"),
            (("SERVING_LOGGING_CONFIG", None), "required key SERVING_LOGGING_CONFIG missing value"),
            (("USER_PORT", Some("http")), "envconfig.Process: assigning USER_PORT: converting 'http' to type int"),
            (
                ("CONTAINER_CONCURRENCY", Some("")),
                "envconfig.Process: assigning CONTAINER_CONCURRENCY: converting '' to type int",
            ),
            (("SERVING_READINESS_PROBE", Some("{")), "failed to parse readiness probe"),
        ] {
            assert_eq!(Config::from_env(&environment(&[change])).unwrap_err().to_string(), expected);
        }
    }
}

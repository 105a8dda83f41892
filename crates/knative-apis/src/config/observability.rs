//! config-observability: logs, metrics, traces and profiles.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use crate::duration;
use crate::go_text::quote;
use crate::template::Template;
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// How a request is logged when the operator does not say: one JSON object a line.
pub const DEFAULT_REQUEST_LOG_TEMPLATE: &str = r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}"#;

/// Where metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `none`, `prometheus`, `http/protobuf` or `grpc`.
    pub protocol: String,
    /// The receiver, for the protocols that push.
    pub endpoint: String,
    /// How often they are pushed; zero leaves it to the exporter.
    pub export_interval: SignedDuration,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { protocol: "none".to_owned(), endpoint: String::new(), export_interval: SignedDuration::ZERO }
    }
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `none`, `stdout`, `http/protobuf` or `grpc`.
    pub protocol: String,
    /// The receiver, for the protocols that push.
    pub endpoint: String,
    /// The share of requests that is traced, 0 to 1.
    pub sampling_rate: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { protocol: "none".to_owned(), endpoint: String::new(), sampling_rate: 0.0 }
    }
}

/// The operator's settings of what can be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Observability {
    /// Where traces go.
    pub tracing: Tracing,
    /// Where Knative's own metrics go.
    pub metrics: Metrics,
    /// Where the metrics of requests, from queue-proxy, go.
    pub request_metrics: Metrics,
    /// Whether profiles are served.
    pub profiling: bool,
    /// How often metrics of the process itself are taken.
    pub runtime_export_interval: SignedDuration,
    /// Whether files under `/var/log` of containers are collected.
    pub enable_var_log_collection: bool,
    /// Where the logs of a revision are found; `${REVISION_UID}` stands for its uid.
    pub logging_url_template: String,
    /// Whether requests are logged.
    pub enable_request_log: bool,
    /// How; empty: not at all.
    pub request_log_template: String,
    /// Whether probes are logged too.
    pub enable_probe_request_log: bool,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            tracing: Tracing::default(),
            metrics: Metrics::default(),
            request_metrics: Metrics::default(),
            profiling: false,
            runtime_export_interval: SignedDuration::from_secs(15),
            enable_var_log_collection: false,
            logging_url_template: String::new(),
            enable_request_log: false,
            request_log_template: DEFAULT_REQUEST_LOG_TEMPLATE.to_owned(),
            enable_probe_request_log: false,
        }
    }
}

impl ConfigMap for Observability {
    const NAME: &'static str = "config-observability";
    const KEYS: &'static [&'static str] = &[
        "logging.enable-probe-request-log",
        "logging.enable-request-log",
        "logging.enable-var-log-collection",
        "logging.request-log-template",
        "logging.revision-url-template",
        "metrics-endpoint",
        "metrics-export-interval",
        "metrics-protocol",
        "request-metrics-endpoint",
        "request-metrics-export-interval",
        "request-metrics-protocol",
        "runtime-export-interval",
        "runtime-profiling",
        "tracing-endpoint",
        "tracing-protocol",
        "tracing-sampling-rate",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let data = Reader(data);
        config.tracing.read(data)?;
        config.metrics.read("", data)?;
        config.read_runtime(data)?;
        config.request_metrics.read("request-", data)?;
        config.read_logging(data)?;
        Ok(config)
    }
}

impl Tracing {
    fn read(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        data.string("tracing-protocol", &mut self.protocol)?;
        data.string("tracing-endpoint", &mut self.endpoint)?;
        data.float("tracing-sampling-rate", &mut self.sampling_rate)?;
        self.problem().map_or(Ok(()), |problem| Err(ConfigError::Invalid(problem)))
    }

    fn problem(&self) -> Option<String> {
        match self.protocol.as_str() {
            "grpc" | "http/protobuf" if self.endpoint.is_empty() => {
                Some(format!("endpoint should be set for protocol {}", quote(&self.protocol)))
            }
            "none" | "stdout" if !self.endpoint.is_empty() => {
                Some("endpoint should not be set when protocol is 'none'".to_owned())
            }
            "grpc" | "http/protobuf" | "none" | "stdout" if self.sampling_rate < 0.0 => {
                Some(format!("sampling rate {:.6} should be greater or equal to zero", self.sampling_rate))
            }
            "grpc" | "http/protobuf" | "none" | "stdout" if self.sampling_rate > 1.0 => {
                Some(format!("sampling rate {:.6} should be less than or equal to one", self.sampling_rate))
            }
            "grpc" | "http/protobuf" | "none" | "stdout" => None,
            other => Some(format!("unsupported protocol {}", quote(other))),
        }
    }
}

impl Metrics {
    fn read(&mut self, prefix: &str, data: Reader<'_>) -> Result<(), ConfigError> {
        data.string(&format!("{prefix}metrics-protocol"), &mut self.protocol)?;
        data.string(&format!("{prefix}metrics-endpoint"), &mut self.endpoint)?;
        data.duration(&format!("{prefix}metrics-export-interval"), &mut self.export_interval)?;
        self.problem().map_or(Ok(()), |problem| Err(ConfigError::Invalid(problem)))
    }

    fn problem(&self) -> Option<String> {
        let protocol = quote(&self.protocol);
        match self.protocol.as_str() {
            "grpc" | "http/protobuf" if self.endpoint.is_empty() => {
                Some(format!("endpoint should be set when protocol is {protocol}"))
            }
            "none" if !self.endpoint.is_empty() => {
                Some(format!("endpoint should not be set when protocol is {protocol}"))
            }
            "grpc" | "http/protobuf" | "none" | "prometheus" => negative_interval(self.export_interval),
            _ => Some(format!("unsupported protocol {protocol}")),
        }
    }
}

fn negative_interval(interval: SignedDuration) -> Option<String> {
    let shown = quote(&duration::format(interval));
    (interval < SignedDuration::ZERO).then(|| format!("export interval {shown} should be greater than zero"))
}

impl Observability {
    fn read_runtime(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        let mut profiling = "disabled".to_owned();
        data.string("runtime-profiling", &mut profiling)?;
        data.duration("runtime-export-interval", &mut self.runtime_export_interval)?;
        self.profiling = match profiling.as_str() {
            "enabled" => true,
            "disabled" => false,
            other => return Err(ConfigError::Invalid(format!("unsupported profile setting {}", quote(other)))),
        };
        negative_interval(self.runtime_export_interval).map_or(Ok(()), |problem| Err(ConfigError::Invalid(problem)))
    }

    fn read_logging(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        data.bool("logging.enable-var-log-collection", &mut self.enable_var_log_collection)?;
        data.string("logging.revision-url-template", &mut self.logging_url_template)?;
        data.string("logging.request-log-template", &mut self.request_log_template)?;
        data.bool("logging.enable-request-log", &mut self.enable_request_log)?;
        data.bool("logging.enable-probe-request-log", &mut self.enable_probe_request_log)?;
        if self.request_log_template.is_empty() && self.enable_request_log {
            return Err(ConfigError::Invalid(
                "\"logging.enable-request-log\" was set to true, but no \"logging.request-log-template\" was specified"
                    .to_owned(),
            ));
        }
        Template::parse("requestLog", &self.request_log_template)
            .map(drop)
            .map_err(|error| ConfigError::Invalid(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Observability, String> {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Observability::parse(&data).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        let config = parse(&[
            ("metrics-protocol", "prometheus"),
            ("request-metrics-protocol", "grpc"),
            ("request-metrics-endpoint", "collector:4317"),
            ("request-metrics-export-interval", "5s"),
            ("tracing-protocol", "stdout"),
            ("tracing-sampling-rate", "0.5"),
            ("runtime-profiling", "enabled"),
            ("logging.enable-request-log", "true"),
            ("logging.request-log-template", "TLS: {{.Request.TLS}}"),
        ])
        .expect("good values");
        assert_eq!(config.metrics.protocol, "prometheus");
        assert_eq!(config.request_metrics.export_interval, SignedDuration::from_secs(5));
        assert!(config.profiling && config.enable_request_log);
        assert_eq!(parse(&[]), Ok(Observability::default()));
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (entries, message) in [
            (&[("metrics-protocol", "kafka")][..], "unsupported protocol \"kafka\""),
            (&[("metrics-protocol", "grpc")], "endpoint should be set when protocol is \"grpc\""),
            (&[("metrics-endpoint", "x")], "endpoint should not be set when protocol is \"none\""),
            (&[("tracing-sampling-rate", "2")], "sampling rate 2.000000 should be less than or equal to one"),
            (&[("runtime-profiling", "yes")], "unsupported profile setting \"yes\""),
            (
                &[("logging.enable-request-log", "true"), ("logging.request-log-template", "")],
                "\"logging.enable-request-log\" was set to true, but no \"logging.request-log-template\" was specified",
            ),
            (&[("logging.request-log-template", "{{a}")], "template: requestLog:1: unclosed action"),
        ] {
            assert_eq!(parse(entries), Err(message.to_owned()));
        }
    }
}

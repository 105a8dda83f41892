//! What the metrics API says that Pods use.

use std::collections::BTreeMap;

use base_rt::Timestamp;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ApiResource;
use serde::Deserialize;

use super::usage::{Sample, Samples};
use crate::objects::quantity::Milli;

/// The PodMetrics of `metrics.k8s.io`.
pub(super) fn resource() -> ApiResource {
    ApiResource {
        group: "metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "metrics.k8s.io/v1beta1".to_owned(),
        kind: "PodMetrics".to_owned(),
        plural: "pods".to_owned(),
    }
}

/// What one Pod uses, but for its name.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Measured {
    timestamp: Timestamp,
    window: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, Quantity>,
}

/// The use of a resource, by Pods: of all their containers, or of one.
///
/// # Errors
/// Nothing is measured at all, or a Pod has no such container; in Kubernetes' words.
pub(super) fn samples(
    measured: &BTreeMap<String, Measured>,
    resource: &str,
    (namespace, container): (&str, Option<&str>),
) -> Result<Samples, String> {
    if measured.is_empty() {
        return Err("no metrics returned from resource metrics API".to_owned());
    }
    let mut samples = Samples::new();
    for (pod, measured) in measured {
        let mut meant =
            measured.containers.iter().filter(|of| container.is_none_or(|wanted| of.name == wanted)).peekable();
        if let (None, Some(container)) = (meant.peek(), container) {
            return Err(format!("container {container} not present in metrics for pod {namespace}/{pod}"));
        }
        let used = meant.map(|of| of.usage.get(resource).and_then(Milli::parse).map(|amount| amount.0));
        // Of a container nothing may be known yet.
        let sum = used.sum::<Option<i128>>();
        let (Some(value), Some(window)) = (sum.and_then(|sum| i64::try_from(sum).ok()), go_duration(&measured.window))
        else {
            continue;
        };
        samples.insert(pod.clone(), Sample { value, at: measured.timestamp, window });
    }
    Ok(samples)
}

/// A duration as Go prints it: `1m0.5s`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit_end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let unit_s = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit_s;
        rest = tail;
    }
    SignedDuration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_are_added_up_or_looked_at_alone() {
        let measured = |containers: serde_json::Value| -> Measured {
            serde_json::from_value(
                json!({"timestamp": "2026-01-01T00:00:00Z", "window": "15.5s", "containers": containers}),
            )
            .unwrap()
        };
        let of = |name: &str, cpu: &str| json!({"name": name, "usage": {"cpu": cpu}});
        let pods = BTreeMap::from([
            ("a".to_owned(), measured(json!([of("c", "250000000n"), of("d", "1")]))),
            ("b".to_owned(), measured(json!([of("c", "100m"), {"name": "d"}]))),
        ]);
        let values = |container| {
            let samples = samples(&pods, "cpu", ("n", container)).unwrap();
            samples
                .into_iter()
                .map(|(name, sample)| (name, sample.value, sample.window.as_millis()))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(None), [("a".to_owned(), 1250, 15500)], "of b not all is known");
        assert_eq!(values(Some("c")), [("a".to_owned(), 250, 15500), ("b".to_owned(), 100, 15500)]);
        let why = samples(&pods, "cpu", ("n", Some("x"))).unwrap_err();
        assert_eq!(why, "container x not present in metrics for pod n/a");
        assert!(samples(&BTreeMap::new(), "cpu", ("n", None)).unwrap_err().contains("no metrics returned"));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let rows = [
            ("15s", Some(15_000)),
            ("1m0.5s", Some(60_500)),
            ("1h2m", Some(3_720_000)),
            ("200ms", Some(200)),
            ("x", None),
            ("1x", None),
        ];
        for (text, expected) in rows {
            assert_eq!(go_duration(text).map(|duration| duration.as_millis()), expected, "{text}");
        }
    }
}

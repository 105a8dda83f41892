//! What is let through of a Pod and yet will surprise somebody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::resources::amount;
use crate::field_error::quote;
use crate::value::{at, i64_at, list_at, str_at};

/// What is to be said of a Pod, or of a template at `prefix`, which ends in a dot.
pub(in crate::kinds) fn of(pod: &Value, prefix: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, constraint) in list_at(pod, &["spec", "topologySpreadConstraints"]).iter().enumerate() {
        if at(constraint, &["labelSelector"]).is_none() {
            warnings.push(format!(
                "{prefix}spec.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
    repeated(pod, prefix, "hostAliases", "ip", &mut warnings);
    repeated(pod, prefix, "imagePullSecrets", "name", &mut warnings);
    for (index, secret) in list_at(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        if str_at(secret, &["name"]).is_empty() {
            warnings.push(format!("{prefix}spec.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    for (path, container) in containers(pod, prefix) {
        fractions(container, &path, &mut warnings);
        hidden_variables(container, &path, &mut warnings);
    }
    ports(pod, prefix, &mut warnings);
    if i64_at(pod, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{prefix}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    warnings
}

fn containers<'a>(pod: &'a Value, prefix: &str) -> impl Iterator<Item = (String, &'a Value)> {
    ["initContainers", "containers"].into_iter().flat_map(move |name| {
        let of_name = list_at(pod, &["spec", name]).iter().enumerate();
        of_name.map(move |(index, container)| (format!("{prefix}spec.{name}[{index}]"), container))
    })
}

fn repeated(pod: &Value, prefix: &str, list: &str, key: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, item) in list_at(pod, &["spec", list]).iter().enumerate() {
        let value = str_at(item, &[key]);
        if !seen.insert(value) {
            warnings.push(format!("{prefix}spec.{list}[{index}].{key}: duplicate {key} {}", quote(value)));
        }
    }
}

fn fractions(container: &Value, path: &str, warnings: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            let Some(value) = at(container, &["resources", list, resource]) else { continue };
            let quantity = amount(value);
            if !quantity.is_whole() {
                warnings.push(format!(
                    "{path}.resources.{list}[{resource}]: fractional byte value {} is invalid, must be an integer",
                    quote(&quantity.to_string())
                ));
            }
        }
    }
}

/// A variable that is set again is fine only if it holds what it was.
fn hidden_variables(container: &Value, path: &str, warnings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
        let (name, value) = (str_at(variable, &["name"]), str_at(variable, &["value"]));
        if seen.insert(name) {
            continue;
        }
        let itself = format!("$({name})");
        if at(variable, &["valueFrom"]).is_some() || value == itself || !value.contains(&itself) {
            warnings.push(format!(
                "{path}.env[{index}]: hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            ));
        }
    }
}

/// A port and where it stands.
type Placed<'a> = (&'a str, &'a Value);

fn ports(pod: &Value, prefix: &str, warnings: &mut Vec<String>) {
    let all: Vec<(String, &Value)> = containers(pod, prefix)
        .flat_map(|(path, container)| {
            let ports = list_at(container, &["ports"]).iter().enumerate();
            ports.map(move |(index, port)| (format!("{path}.ports[{index}]"), port)).collect::<Vec<_>>()
        })
        .collect();
    let mut by_number: BTreeMap<(Option<i64>, &str), Vec<Placed<'_>>> = BTreeMap::new();
    for (path, port) in &all {
        let others = by_number.entry((i64_at(port, &["containerPort"]), str_at(port, &["protocol"]))).or_default();
        for (other_path, other) in others.iter() {
            let host = |port: &Value| (str_at(port, &["hostIP"]).to_owned(), i64_at(port, &["hostPort"]).unwrap_or(0));
            let (own, other) = (host(port), host(other));
            let what = if own == other {
                "duplicate"
            } else if own.1 == 0 || other.1 == 0 {
                "overlapping"
            } else if own.1 == other.1 && own.0.is_empty() != other.0.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{path}: {what} port definition with {other_path}"));
        }
        others.push((path, port));
    }
    let mut by_name: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, port) in &all {
        let name = str_at(port, &["name"]);
        match by_name.get(name) {
            _ if name.is_empty() => {}
            Some(first) => warnings.push(format!(
                "{path}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                quote(name)
            )),
            None => {
                by_name.insert(name, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_surprises_is_told() {
        let pod = json!({"spec": {
            "terminationGracePeriodSeconds": -1,
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
            "topologySpreadConstraints": [{"topologyKey": "zone"}],
            "initContainers": [{"ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}],
            "containers": [{
                "resources": {"limits": {"memory": "100m"}, "requests": {"memory": "1Gi"}},
                "env": [
                    {"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"},
                ],
                "ports": [
                    {"name": "http", "containerPort": 80, "protocol": "TCP"},
                    {"name": "dns", "containerPort": 80, "protocol": "UDP"},
                    {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
                ],
            }],
        }});
        assert_eq!(
            of(&pod, "spec.template."),
            [
                "spec.template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.template.spec.imagePullSecrets[1].name: duplicate name \"a\"",
                "spec.template.spec.imagePullSecrets[2].name: invalid empty name \"\"",
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.template.spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.template.spec.containers[0].ports[0]: duplicate port definition with spec.template.spec.initContainers[0].ports[0]",
                "spec.template.spec.containers[0].ports[2]: overlapping port definition with spec.template.spec.initContainers[0].ports[0]",
                "spec.template.spec.containers[0].ports[2]: overlapping port definition with spec.template.spec.containers[0].ports[0]",
                "spec.template.spec.containers[0].ports[0]: duplicate port name \"http\" with spec.template.spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.template.spec.initContainers[0].ports[0]",
                "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ]
        );
        assert_eq!(of(&json!({"spec": {"containers": [{}]}}), ""), [""; 0]);
    }
}

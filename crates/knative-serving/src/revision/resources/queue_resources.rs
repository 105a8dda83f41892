//! What the sidecar may use: the operator's values, a share of the user's container, or what annotations say (these win).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use knative_apis::config::Deployment;
use knative_apis::meta::{KeyPriority, annotation};
use knative_apis::quantity::Quantity;

type Amounts = BTreeMap<String, Amount>;

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
const STORAGE: &str = "ephemeral-storage";
const MEBI: i64 = 1 << 20;

/// What is used where the operator asked for defaults (`queueproxy.resource-defaults`).
const DEFAULT_CPU_REQUEST_MILLI: i64 = 25;
const DEFAULT_CPU_LIMIT_MILLI: i64 = 1000;
const DEFAULT_MEMORY_REQUEST: i64 = 400 * MEBI;
const DEFAULT_MEMORY_LIMIT: i64 = 800 * MEBI;

/// The resources of the sidecar.
pub(super) fn make_queue_resources(
    deployment: &Deployment,
    annotations: &BTreeMap<String, String>,
    serving: Option<&Container>,
    uses_defaults: bool,
) -> ResourceRequirements {
    let mut requests = Amounts::new();
    let mut limits = Amounts::new();
    configured(deployment, uses_defaults, &mut requests, &mut limits);
    if let (Some(fraction), Some(serving)) = (fraction(annotations), serving) {
        share(serving, fraction, &mut requests, &mut limits);
    }
    let asked = [
        (CPU, annotation::QUEUE_CPU_REQUEST, annotation::QUEUE_CPU_LIMIT),
        (MEMORY, annotation::QUEUE_MEMORY_REQUEST, annotation::QUEUE_MEMORY_LIMIT),
        (STORAGE, annotation::QUEUE_EPHEMERAL_STORAGE_REQUEST, annotation::QUEUE_EPHEMERAL_STORAGE_LIMIT),
    ];
    for (name, request, limit) in asked {
        annotated(annotations, request, name, &mut requests);
        annotated(annotations, limit, name, &mut limits);
    }
    let some = |amounts: Amounts| (!amounts.is_empty()).then_some(amounts);
    ResourceRequirements { requests: some(requests), limits: some(limits), ..ResourceRequirements::default() }
}

fn configured(deployment: &Deployment, uses_defaults: bool, requests: &mut Amounts, limits: &mut Amounts) {
    let cpu = |milli| uses_defaults.then(|| Quantity::from_milli(milli));
    let memory = |bytes| uses_defaults.then(|| Quantity::from_bytes(bytes));
    let chosen = [
        (CPU, deployment.queue_sidecar_cpu_request, cpu(DEFAULT_CPU_REQUEST_MILLI)),
        (MEMORY, deployment.queue_sidecar_memory_request, memory(DEFAULT_MEMORY_REQUEST)),
        (STORAGE, deployment.queue_sidecar_ephemeral_storage_request, None),
    ];
    for (name, own, default) in chosen {
        set(requests, name, own.or(default));
    }
    let chosen = [
        (CPU, deployment.queue_sidecar_cpu_limit, cpu(DEFAULT_CPU_LIMIT_MILLI)),
        (MEMORY, deployment.queue_sidecar_memory_limit, memory(DEFAULT_MEMORY_LIMIT)),
        (STORAGE, deployment.queue_sidecar_ephemeral_storage_limit, None),
    ];
    for (name, own, default) in chosen {
        set(limits, name, own.or(default));
    }
}

fn set(amounts: &mut Amounts, name: &str, quantity: Option<Quantity>) {
    if let Some(quantity) = quantity {
        amounts.insert(name.to_owned(), Amount(quantity.to_string()));
    }
}

fn annotated(annotations: &BTreeMap<String, String>, key: KeyPriority, name: &str, amounts: &mut Amounts) {
    set(amounts, name, key.value(annotations).and_then(|text| Quantity::parse(text).ok()));
}

/// The share of the user's container that the sidecar gets, if an annotation asks for one.
fn fraction(annotations: &BTreeMap<String, String>) -> Option<f64> {
    let percent: f64 = annotation::QUEUE_RESOURCE_PERCENTAGE.value(annotations)?.parse().ok()?;
    percent.is_finite().then_some(percent / 100.0)
}

/// A share of what the user's container has, within Knative's bounds.
fn share(serving: &Container, fraction: f64, requests: &mut Amounts, limits: &mut Amounts) {
    let empty = Amounts::new();
    let users = |pick: fn(&ResourceRequirements) -> Option<&Amounts>| serving.resources.as_ref().and_then(pick);
    let users_requests = users(|resources| resources.requests.as_ref()).unwrap_or(&empty);
    let users_limits = users(|resources| resources.limits.as_ref()).unwrap_or(&empty);
    set(requests, CPU, cpu_share(users_requests, fraction, (25, 100)));
    set(limits, CPU, cpu_share(users_limits, fraction, (40, 500)));
    set(requests, MEMORY, memory_share(users_requests, fraction, (50 * MEBI, 200 * MEBI)));
    set(limits, MEMORY, memory_share(users_limits, fraction, (200 * MEBI, 500 * MEBI)));
}

fn cpu_share(users: &Amounts, fraction: f64, (least_milli, most_milli): (i64, i64)) -> Option<Quantity> {
    let milli = milli_share(users, CPU, fraction)?;
    Some(Quantity::from_milli(milli.clamp(least_milli, most_milli)))
}

fn memory_share(users: &Amounts, fraction: f64, (least, most): (i64, i64)) -> Option<Quantity> {
    let bytes = milli_share(users, MEMORY, fraction)? / 1000;
    Some(Quantity::from_bytes(bytes.clamp(least, most)))
}

fn milli_share(users: &Amounts, name: &str, fraction: f64) -> Option<i64> {
    let whole = Quantity::parse(&users.get(name)?.0).ok().filter(|quantity| !quantity.is_zero())?;
    // A product beyond the range saturates, and is clamped anyway.
    Some((whole.milli_value() as f64 * fraction) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let amounts = |entries: &[(&str, &str)]| {
            Some(entries.iter().map(|(key, value)| ((*key).to_owned(), Amount((*value).to_owned()))).collect())
        };
        let resources = ResourceRequirements {
            requests: amounts(requests),
            limits: amounts(limits),
            ..ResourceRequirements::default()
        };
        Container { resources: Some(resources), ..Container::default() }
    }

    fn shown(amounts: Option<Amounts>) -> Vec<(String, String)> {
        amounts.unwrap_or_default().into_iter().map(|(name, amount)| (name, amount.0)).collect()
    }

    #[test]
    fn without_wishes_there_is_a_small_request() {
        let made = make_queue_resources(&Deployment::default(), &map(&[]), None, false);
        assert_eq!(shown(made.requests), [("cpu".into(), "25m".into())]);
        assert_eq!(made.limits, None);
    }

    #[test]
    fn defaults_are_for_operators_who_ask() {
        let made = make_queue_resources(&Deployment::default(), &map(&[]), None, true);
        assert_eq!(shown(made.requests), [("cpu".into(), "25m".into()), ("memory".into(), "400Mi".into())]);
        assert_eq!(shown(made.limits), [("cpu".into(), "1".into()), ("memory".into(), "800Mi".into())]);
    }

    #[test]
    fn a_share_stays_within_bounds_and_annotations_win() {
        let wishes = map(&[
            ("queue.sidecar.serving.knative.dev/resource-percentage", "20"),
            ("queue.sidecar.serving.knative.dev/memory-resource-limit", "1Gi"),
        ]);
        let serving = container(&[("cpu", "333m"), ("memory", "10Mi")], &[("cpu", "100"), ("memory", "2Gi")]);
        let made = make_queue_resources(&Deployment::default(), &wishes, Some(&serving), false);
        assert_eq!(shown(made.requests), [("cpu".into(), "66m".into()), ("memory".into(), "50Mi".into())]);
        assert_eq!(shown(made.limits), [("cpu".into(), "500m".into()), ("memory".into(), "1Gi".into())]);
    }
}

//! What a Pod may be told about itself: `fieldRef` and `resourceFieldRef`, in variables and volumes.
//!
//! Specified by: Kubernetes' downward API.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::facts::containers;
use crate::objects::quantity::Milli;

/// Addresses that a Pod may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// The Pod's.
    pub(crate) pod: Option<IpAddr>,
    /// The node's.
    pub(crate) host: IpAddr,
}

/// What the node has: the limits of a container that has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeLimits {
    /// Processors, in thousandths.
    pub(crate) cpu_millis: u64,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
}

/// The value of a field of the Pod.
///
/// # Errors
/// There is no such field; in words.
pub(crate) fn field(pod: &Pod, path: &str, addresses: Addresses) -> Result<String, String> {
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
    let text = |text: Option<&String>| Ok(text.cloned().unwrap_or_default());
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return text(map.and_then(|map| map.get(key)));
    }
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(format_map(meta.labels.as_ref())),
        "metadata.annotations" => Ok(format_map(meta.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => Ok(addresses.host.to_string()),
        "status.podIP" | "status.podIPs" => Ok(addresses.pod.map(|ip| ip.to_string()).unwrap_or_default()),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// `metadata.labels['key']` as map and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, sorted, values quoted as Go quotes.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (number, (key, value)) in map.into_iter().flatten().enumerate() {
        let line_end = if number == 0 { "" } else { "\n" };
        let _ = write!(text, "{line_end}{key}={value:?}");
    }
    text
}

/// The value of a resource of a container: `own`, unless the selector names another.
///
/// # Errors
/// There is no such container or resource; in words.
pub(crate) fn resource(
    pod: &Pod,
    own: &str,
    selector: &ResourceFieldSelector,
    node: NodeLimits,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(own);
    let container = containers(pod).find(|container| container.name == name);
    let container = container.ok_or_else(|| format!("container {name} not found"))?;
    let amount = amount(container, &selector.resource, node)?;
    let divisor =
        selector.divisor.as_ref().and_then(Milli::parse).map(|divisor| divisor.0).filter(|divisor| *divisor > 0);
    let divisor = divisor.unwrap_or(1000);
    // Rounded up.
    Ok(((amount.0 + divisor - 1) / divisor).to_string())
}

fn amount(container: &Container, resource: &str, node: NodeLimits) -> Result<Milli, String> {
    let unsupported = || format!("unsupported container resource : {resource}");
    let (list, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let whole = match name {
        "cpu" => Milli(node.cpu_millis.into()),
        "memory" => Milli::units(node.memory_bytes.into()),
        "ephemeral-storage" => Milli(0),
        _ => return Err(unsupported()),
    };
    let stated = |quantities: Option<&BTreeMap<String, Quantity>>| {
        quantities.and_then(|list| list.get(name)).and_then(Milli::parse)
    };
    let resources = container.resources.as_ref();
    let limit = stated(resources.and_then(|resources| resources.limits.as_ref()));
    match list {
        "limits" => Ok(limit.unwrap_or(whole)),
        "requests" => {
            Ok(stated(resources.and_then(|resources| resources.requests.as_ref())).or(limit).unwrap_or(Milli(0)))
        }
        _ => Err(unsupported()),
    }
}

//! A container's environment: the image's, the services', `envFrom`, `env`; each lays itself over what is before it.
//!
//! Pure: the ConfigMaps and Secrets that a container names ([`needs`]) are fetched before, and handed in as [`Sources`].
//! Specified by: the kubelet's `makeEnvironmentVariables`, whose error texts these are.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use super::expand::expand;
use super::fields::{Addresses, NodeLimits, field, resource};

/// ConfigMaps and Secrets by name; `None` is one that does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// ConfigMaps of the Pod's namespace.
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// Secrets of the Pod's namespace.
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
}

/// What has to be fetched for an environment or a volume: names of ConfigMaps and Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// ConfigMaps.
    pub(crate) config_maps: BTreeSet<String>,
    /// Secrets.
    pub(crate) secrets: BTreeSet<String>,
}

/// What a container's environment names.
pub(crate) fn needs(container: &Container) -> Needs {
    let mut needs = Needs::default();
    for from in container.env_from.iter().flatten() {
        needs.config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        needs.secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        needs.config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        needs.secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    needs
}

/// What an environment is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvInput<'a> {
    /// The Pod.
    pub(crate) pod: &'a Pod,
    /// The container.
    pub(crate) container: &'a Container,
    /// The image's `NAME=value`.
    pub(crate) image: &'a [String],
    /// The services' variables.
    pub(crate) services: &'a BTreeMap<String, String>,
    /// What the container names.
    pub(crate) sources: &'a Sources,
    /// Where the Pod and the node are.
    pub(crate) addresses: Addresses,
    /// What the node has.
    pub(crate) node: NodeLimits,
}

/// A container's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// All of them.
    pub(crate) all: BTreeMap<String, String>,
    /// Those that commands and arguments may name: not the image's.
    pub(crate) own: BTreeMap<String, String>,
}

/// Makes a container's environment.
///
/// # Errors
/// Something that it names is not there; in the kubelet's words.
pub(crate) fn make_env(input: EnvInput<'_>) -> Result<Environment, String> {
    let mut own = BTreeMap::new();
    for from in input.container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let pairs = if let Some(reference) = &from.config_map_ref {
            let map = input.sources.config_maps.get(&reference.name).and_then(Option::as_ref);
            from_config_map((&reference.name, reference.optional), map)?
        } else if let Some(reference) = &from.secret_ref {
            let secret = input.sources.secrets.get(&reference.name).and_then(Option::as_ref);
            from_secret((&reference.name, reference.optional), secret)?
        } else {
            Vec::new()
        };
        own.extend(pairs.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    for variable in input.container.env.iter().flatten() {
        let known = |name: &str| own.get(name).or_else(|| input.services.get(name)).map(String::as_str);
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, known)),
            (_, Some(source)) => value_from(input, source)?,
            _ => Some(String::new()),
        };
        own.extend(value.map(|value| (variable.name.clone(), value)));
    }
    for (name, value) in input.services {
        own.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let image = input.image.iter().filter_map(|pair| pair.split_once('='));
    let mut all: BTreeMap<String, String> =
        image.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    all.extend(own.clone());
    Ok(Environment { all, own })
}

type Pairs = Vec<(String, String)>;

fn from_config_map(reference: (&str, Option<bool>), map: Option<&ConfigMap>) -> Result<Pairs, String> {
    match (map, reference.1) {
        (Some(map), _) => Ok(map.data.clone().unwrap_or_default().into_iter().collect()),
        (None, Some(true)) => Ok(Vec::new()),
        (None, _) => Err(format!("configmap \"{}\" not found", reference.0)),
    }
}

fn from_secret(reference: (&str, Option<bool>), secret: Option<&Secret>) -> Result<Pairs, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match (secret, reference.1) {
        (Some(secret), _) => {
            Ok(secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), text(&bytes.0))).collect())
        }
        (None, Some(true)) => Ok(Vec::new()),
        (None, _) => Err(format!("secret \"{}\" not found", reference.0)),
    }
}

/// The value that a source gives; none if it is optional and absent.
fn value_from(input: EnvInput<'_>, source: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = input.pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return field(input.pod, &reference.field_path, input.addresses).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(input.pod, &input.container.name, selector, input.node).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let map = input.sources.config_maps.get(&selector.name).and_then(Option::as_ref);
        let (pairs, is_optional) = (from_config_map((&selector.name, selector.optional), map)?, selector.optional);
        let missing = || format!("couldn't find key {} in ConfigMap {namespace}/{}", selector.key, selector.name);
        return pick(pairs, &selector.key, is_optional).map_err(|()| missing());
    }
    if let Some(selector) = &source.secret_key_ref {
        let secret = input.sources.secrets.get(&selector.name).and_then(Option::as_ref);
        let (pairs, is_optional) = (from_secret((&selector.name, selector.optional), secret)?, selector.optional);
        let missing = || format!("couldn't find key {} in Secret {namespace}/{}", selector.key, selector.name);
        return pick(pairs, &selector.key, is_optional).map_err(|()| missing());
    }
    Ok(Some(String::new()))
}

fn pick(pairs: Pairs, key: &str, is_optional: Option<bool>) -> Result<Option<String>, ()> {
    match pairs.into_iter().find(|(name, _)| name == key) {
        Some((_, value)) => Ok(Some(value)),
        None if is_optional == Some(true) => Ok(None),
        None => Err(()),
    }
}

/// The variables of services, as Docker's links were: `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP`, …
pub(crate) fn service_env<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for service in services {
        let spec = service.spec.as_ref();
        let ip = spec.and_then(|spec| spec.cluster_ip.as_deref()).filter(|ip| !ip.is_empty() && *ip != "None");
        let ports: Vec<_> = spec.into_iter().flat_map(|spec| spec.ports.iter().flatten()).collect();
        let (Some(ip), Some(first)) = (ip, ports.first()) else { continue };
        let prefix = variable_name(service.metadata.name.as_deref().unwrap_or_default());
        env.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        env.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        env.insert(format!("{prefix}_PORT"), url(first.protocol.as_deref(), ip, first.port));
        for port in &ports {
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                env.insert(format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let port_prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
            env.insert(format!("{port_prefix}_PROTO"), protocol.to_lowercase());
            env.insert(format!("{port_prefix}_PORT"), port.port.to_string());
            env.insert(format!("{port_prefix}_ADDR"), ip.to_owned());
            env.insert(port_prefix, url(Some(protocol), ip, port.port));
        }
    }
    env
}

fn url(protocol: Option<&str>, ip: &str, port: i32) -> String {
    format!("{}://{ip}:{port}", protocol.unwrap_or("TCP").to_lowercase())
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests;

//! The objects that say where the parts of this process are in the instance's network: Services that others know by name, and their
//! Endpoints.
//!
//! | Service | leads to |
//! |---|---|
//! | `default/kubernetes` | the API |
//! | `kube-system/kube-dns` | the DNS, at an address of its own |
//! | `kwick-system/registry` | the registry, for Pods |
//!
//! They are written at every start, before any controller runs, because the instance's addresses may have moved. None has a selector: no Pod
//! stands behind them.

use std::fmt::Debug;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Namespace, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use kwick::assembly::Level;
use kwick::assembly::install::KWICK_NAMESPACE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::listeners::{INSTANCE_API_PORT, INSTANCE_REGISTRY_PORT};

/// The Service of the registry.
const REGISTRY_SERVICE: &str = "registry";
/// The host number of the DNS in the service range, as kubeadm has it.
const DNS_HOST: u32 = 10;

/// A port of a Service: its name, its number, and that of the part.
type Port = (&'static str, u16, u16);

/// The ClusterIP of the DNS.
pub(super) fn dns_address(services: (Ipv4Addr, u8)) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(services.0).wrapping_add(DNS_HOST))
}

/// Writes the objects of `level` for parts at `here`.
pub(super) async fn write(client: &Client, level: Level, here: Ipv4Addr, services: (Ipv4Addr, u8)) -> Result<()> {
    let api = [("https", 443, INSTANCE_API_PORT)];
    put(client, "default", make_endpoints("kubernetes", here, &api)).await?;
    if level >= Level::Cluster {
        let ports = [ServicePort { protocol: Some("UDP".to_owned()), ..port("dns", 53, 53) }, port("dns-tcp", 53, 53)];
        let mut dns = make_service("kube-dns", ports.into());
        dns.spec.get_or_insert_default().cluster_ip = Some(dns_address(services).to_string());
        put(client, "kube-system", dns).await?;
        ensure_namespace(client, KWICK_NAMESPACE).await?;
        let registry = port("http", 80, INSTANCE_REGISTRY_PORT);
        put(client, KWICK_NAMESPACE, make_service(REGISTRY_SERVICE, vec![registry])).await?;
        let ports = [("http", 80, INSTANCE_REGISTRY_PORT)];
        put(client, KWICK_NAMESPACE, make_endpoints(REGISTRY_SERVICE, here, &ports)).await?;
    }
    Ok(())
}

fn make_service(name: &str, ports: Vec<ServicePort>) -> Service {
    let spec = ServiceSpec { ports: Some(ports), ..ServiceSpec::default() };
    Service { metadata: named(name), spec: Some(spec), status: None }
}

fn make_endpoints(name: &str, here: Ipv4Addr, ports: &[Port]) -> Endpoints {
    let address = EndpointAddress { ip: here.to_string(), ..EndpointAddress::default() };
    let port = |(name, _, to): &Port| EndpointPort {
        name: Some((*name).to_owned()),
        port: i32::from(*to),
        protocol: Some("TCP".to_owned()),
        app_protocol: None,
    };
    let ports = ports.iter().map(port).collect();
    let subset = EndpointSubset { addresses: Some(vec![address]), not_ready_addresses: None, ports: Some(ports) };
    Endpoints { metadata: named(name), subsets: Some(vec![subset]) }
}

fn port(name: &str, number: u16, to: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(i32::from(to))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Makes a namespace unless it is there: where Knative is installed it came with that.
#[expect(clippy::disallowed_methods, reason = "this is written before any controller runs")]
async fn ensure_namespace(client: &Client, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    let made = match api.get_metadata_opt(name).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {
            api.create(&PostParams::default(), &Namespace { metadata: named(name), ..Namespace::default() }).await
        }
        Err(error) => Err(error),
    };
    made.map(drop).map_err(words).with_context(|| format!("cannot write Namespace {name}"))
}

/// Creates an object, or merges it over the one that is there.
#[expect(clippy::disallowed_methods, reason = "these objects are written before any controller runs")]
async fn put<K>(client: &Client, namespace: &str, object: K) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let name = object.name_any();
    // Asked first, because creating what is there may fail for another reason: its ClusterIP is taken, by itself.
    let written = match api.get_metadata_opt(&name).await {
        Ok(None) => api.create(&PostParams::default(), &object).await,
        Ok(Some(_)) => api.patch(&name, &PatchParams::default(), &Patch::Merge(&object)).await,
        Err(error) => Err(error),
    };
    written.map(drop).map_err(words).with_context(|| format!("cannot write {} {namespace}/{name}", K::kind(&())))
}

/// What the API said, without the rest of its Status.
fn words(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!(status.message),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dns_has_the_tenth_address() {
        assert_eq!(dns_address((Ipv4Addr::new(10, 96, 0, 0), 16)), Ipv4Addr::new(10, 96, 0, 10));
    }
}

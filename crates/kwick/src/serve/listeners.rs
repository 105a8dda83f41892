//! The sockets that the outside knows. The spawner makes and keeps them, so that connections wait while this process is away.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use cluster_sandbox::Sandbox;
use cluster_sandbox::spec::{ListenSpec, ListenerName, Place, Protocol};
use kwick::assembly::Level;

use crate::instance::record::Record;

/// The port of the API on the instance's own network.
pub(super) const INSTANCE_API_PORT: u16 = 6443;
/// The port of the registry there.
pub(super) const INSTANCE_REGISTRY_PORT: u16 = 5000;

/// Every socket, by who serves it.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// The API's: the host's and the instance's.
    pub(super) api: Vec<TcpListener>,
    /// The registry's for the host's users.
    pub(super) registry: Vec<TcpListener>,
    /// The registry's for Pods.
    pub(super) registry_inside: Vec<TcpListener>,
    /// The gateway's for everybody: one for each worker.
    pub(super) gateway: Vec<TcpListener>,
    /// The same for those who speak TLS.
    pub(super) gateway_tls: Vec<TcpListener>,
}

impl Listeners {
    /// Opens what `level` need; those that an earlier process had are the same sockets.
    pub(super) async fn open(sandbox: &Sandbox, record: &Record, level: Level) -> Result<Self> {
        let bridge = sandbox.facts().network.as_ref().map(|network| network.bridge_ip);
        let mut listeners = Self { api: host(sandbox, "api", record.api, 1).await?, ..Self::default() };
        listeners.api.extend(inside(sandbox, "api-inside", bridge, INSTANCE_API_PORT).await?);
        if level >= Level::Cluster {
            listeners.registry = host(sandbox, "registry", record.registry, 1).await?;
            listeners.registry_inside = inside(sandbox, "registry-inside", bridge, INSTANCE_REGISTRY_PORT).await?;
        }
        if level == Level::All {
            listeners.gateway = host(sandbox, "gateway", record.gateway, workers()).await?;
            listeners.gateway_tls = host(sandbox, "gateway-tls", record.gateway_tls, workers()).await?;
        }
        Ok(listeners)
    }
}

/// As many threads as the data plane has.
pub(super) fn workers() -> u16 {
    std::thread::available_parallelism().ok().and_then(|count| u16::try_from(count.get()).ok()).unwrap_or(1).min(64)
}

async fn host(sandbox: &Sandbox, name: &str, address: Option<SocketAddr>, sockets: u16) -> Result<Vec<TcpListener>> {
    let Some(address) = address else { return Ok(Vec::new()) };
    listen(sandbox, name, Place::Host, address, sockets).await
}

async fn inside(sandbox: &Sandbox, name: &str, ip: Option<Ipv4Addr>, port: u16) -> Result<Vec<TcpListener>> {
    let Some(ip) = ip else { return Ok(Vec::new()) };
    listen(sandbox, name, Place::Instance, SocketAddr::from((ip, port)), 1).await
}

async fn listen(
    sandbox: &Sandbox,
    name: &str,
    place: Place,
    address: SocketAddr,
    sockets: u16,
) -> Result<Vec<TcpListener>> {
    let name = ListenerName::try_new(name).context("a listener's name")?;
    let spec = ListenSpec { name: name.clone(), place, address, protocol: Protocol::Tcp, sockets };
    let held = sandbox.listeners().await.context("cannot ask the spawner for its listeners")?;
    if held.iter().any(|old| old.name == name && *old != spec) {
        // The address was changed since.
        sandbox.unlisten(&name).await.with_context(|| format!("cannot give up the old address of {name}"))?;
    }
    let made = sandbox.listen(&spec).await.with_context(|| format!("cannot listen on {address} ({name})"))?;
    Ok(made.sockets.into_iter().map(TcpListener::from).collect())
}

//! The cluster's DNS: answers for the cluster's domain from the shared informers, and asks the machine's own servers for everything else.
//!
//! ```text
//! UDP, TCP on the DNS address ─► exchange ─┬─► zone (pure): names of Services and endpoints ─► records, NODATA, NXDOMAIN with SOA
//!                                          └─► forward: the servers of /etc/resolv.conf, bounded in time and number; else SERVFAIL
//! ```
//! Specified by Kubernetes' DNS-Based Service Discovery, version 1.1.0 (records of Services with and without ClusterIP, SRV of named ports,
//! PTR of ClusterIPs, ExternalName as CNAME); where that is silent, CoreDNS' ways: the target of a CNAME is resolved as well, because a Pod's
//! resolver expects a whole answer, and `A-B-C-D.NAMESPACE.pod` is the address that it spells. Until the informers have listed, names of the
//! domain get SERVFAIL, which clients try again, never NXDOMAIN, which they remember.
//!
//! Search domains and `ndots` are the business of the Pods' resolvers.

mod exchange;
mod forward;
mod metrics;
mod names;
mod serve;
#[cfg(test)]
mod tests;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use base_controller::{Context, Scope as ObjectScope};
use base_rt::metrics::Scope;
use base_rt::watch;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::service_ip::ServiceSockets;
use exchange::Exchange;
use forward::Forwarder;
use metrics::Metrics;
use zone::{Caches, Zone};

/// The port of DNS.
pub const PORT: u16 = 53;

/// What the DNS is told about the cluster.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// The ClusterIP of the Service `kube-dns`.
    pub address: IpAddr,
    /// Who is asked about names outside of the domain.
    pub upstream: Upstream,
}

/// Where the servers for other names come from.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The `nameserver` lines of a file, read again when it may have changed.
    ResolvConf(PathBuf),
    /// These servers.
    Servers(Vec<SocketAddr>),
}

/// What the DNS needs of the process that it runs in.
pub struct Parts {
    /// The shared informers, tasks and shutdown.
    pub context: Context,
    /// Who makes the sockets.
    pub sockets: Arc<dyn ServiceSockets>,
    /// Where metrics are registered.
    pub metrics: Scope,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The domain is no DNS name.
#[derive(Debug, thiserror::Error)]
#[error("the cluster domain {domain:?} is not a DNS name; use one such as cluster.local")]
pub struct BadDomain {
    domain: String,
}

/// The running DNS.
#[derive(Clone, Debug)]
pub struct Dns {
    ready: watch::Receiver<bool>,
}

impl Dns {
    /// Waits until the sockets are open and the names of the cluster are known.
    pub async fn ready(&self) {
        // An error means that the process is ending: nobody waits for readiness then.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }
}

/// Starts to answer, until the process's shutdown has drained.
///
/// # Errors
/// The domain is no DNS name.
pub fn start(config: &DnsConfig, parts: Parts) -> Result<Dns, BadDomain> {
    let Parts { context, sockets, metrics } = parts;
    let services = context.informers.get::<Service>(ObjectScope::all());
    let slices = context.informers.get::<EndpointSlice>(ObjectScope::all());
    let zone = Zone::new(&config.domain, config.address, Caches::new(&services, &slices))
        .ok_or_else(|| BadDomain { domain: config.domain.clone() })?;
    let metrics = Metrics::new(&metrics.sub("dns"));
    let address = SocketAddr::new(config.address, PORT);
    let forwarder = Forwarder::new(config.upstream.clone(), address);
    let exchange = Arc::new(Exchange::new(zone, forwarder, metrics));
    let (tell_ready, ready) = watch::channel(false);
    serve::start(&context.tasks, address, sockets, exchange, async move {
        services.synced().await;
        slices.synced().await;
        tell_ready.send_replace(true);
    });
    Ok(Dns { ready })
}

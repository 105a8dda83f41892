//! ClusterIPs: what kube-proxy does in a cluster, done by this process.
//!
//! ```text
//! Services, EndpointSlices ─► table (pure) ─► keeper ─► one listening socket per (ClusterIP, port, protocol)
//!                                               │            │ accepted, received
//!                                               └─► picker ◄─┘ an endpoint in turn ─► tcp: copied both ways   udp: a session per client
//! ```
//! The service range is local to the instance's network, so a socket bound there is reached by Pods and by the machine alike. The sockets are
//! made elsewhere ([`ServiceSockets`]) and survive this process; endpoints are dialled from the machine's own network, which has the routes.
//!
//! As with kube-proxy: a Service without ready endpoints refuses connections, endpoints that are ending are used when there is no other,
//! `sessionAffinity: ClientIP` is kept, established connections outlive their Service. Other than with kube-proxy's usual modes, an endpoint sees
//! this machine as its client, not the Pod that asked; and an endpoint that refuses is followed by the next.
//!
//! Not served: node ports, external addresses, SCTP; Services of type ExternalName and headless ones have no address to serve.

mod keeper;
mod metrics;
mod picker;
mod sockets;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base_controller::{Context, Key};
use base_rt::metrics::Scope;
use base_rt::watch;

use keeper::{Keeper, Source};
use metrics::Metrics;
pub use sockets::{Front, SandboxSockets, ServiceSocketError, ServiceSockets};
pub(crate) use table::{cluster_ips, is_ready};

/// What is told about the Services of this machine.
#[derive(Clone, Debug, Default)]
pub struct ServiceIpConfig {
    /// ClusterIPs that somebody else listens at, such as the cluster's DNS.
    pub elsewhere: BTreeSet<IpAddr>,
    /// Ports of Services that lead to an address of this machine, loopback included, whatever their endpoints are.
    pub pinned: BTreeMap<(Key, u16), SocketAddr>,
}

/// What the forwarders need of the process that they run in.
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

/// The running forwarders.
#[derive(Clone, Debug)]
pub struct ServiceIps {
    ready: watch::Receiver<bool>,
}

impl ServiceIps {
    /// Waits until every Service of the first list was given its sockets, or was tried to.
    pub async fn ready(&self) {
        // An error means that the process is ending: nobody waits for readiness then.
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }
}

/// Starts to serve ClusterIPs, until the process's shutdown has drained.
pub fn start(config: ServiceIpConfig, parts: Parts) -> ServiceIps {
    let Parts { context, sockets, metrics } = parts;
    let source = Source::new(config, &context.informers);
    let keeper = Keeper::new(sockets, context.tasks.clone(), Metrics::new(&metrics.sub("service_ip")));
    let (tell_ready, ready) = watch::channel(false);
    context.tasks.spawn("service-ip", async move {
        keeper::run(keeper, source, tell_ready).await;
        Ok(())
    });
    ServiceIps { ready }
}

//! Knative in this process: controllers and autoscaler on the control plane's threads, gateway and activator on the data plane's.
//! [`super::parts`] shows them as Pods.
//!
//! What crosses between them are values only: statistics (a bounded channel), what the gateway serves ([`GatewayFacts`]), hints.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use base_controller::hint::HintBus;
use base_controller::{Informer, Key, Scope as ObjectScope};
use base_net::connect::{Connector, LocalTable, Target};
use base_net::listen::Listener;
use base_net::probe::{HttpProbe, Probe};
use base_net::serve::ServerHandle;
use base_net::workers::DataPlane;
use base_rt::Tasks;
use cluster_workloads::node::builtin::{Builtins, Where};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use knative_apis::meta::{SYSTEM_NAMESPACE, header};
use knative_apis::networking::{Ingress, LoadBalancerIngressStatus};
use knative_apis::serving::v1::Revision;
use knative_apis::stat::StatMessage;
use knative_proxy::gateway::Side;
use knative_proxy::{Activator, ActivatorParts, Gateway, GatewayParts, InternalTls, Upstream};
use knative_serving::manifests::{ACTIVATOR, GATEWAY, GATEWAY_SERVICE, Installation};
use knative_serving::pod_autoscaler::probe::{ActivatorProbe, ProbeTarget};
use knative_serving::{GatewayFacts, STATS_CAPACITY, Seams, Settings};
use kwick::assembly::install::KWICK_NAMESPACE;
use kwick::assembly::{ControlPlane, Process};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::cluster::CLUSTER_DOMAIN;
use super::explain::{Explain, Explaining};
use super::images::Images;
use super::listeners::Listeners;
use super::part_logs::PartLogs;
use super::parts::{Opening, Parts};
use crate::instance::record::Record;

/// The class of the Ingresses that this gateway serves.
pub(crate) const INGRESS_CLASS: &str = "kwick.ingress.networking.knative.dev";
/// Where services live unless config-domain says otherwise: names under it lead to loopback on most machines.
const DOMAIN: &str = "localhost";

/// How long the activator may take to answer for a Revision.
const PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(900);

/// What Knative needs to be installed here.
pub(super) fn installation(image: String) -> Installation {
    Installation {
        system_namespace: SYSTEM_NAMESPACE.to_owned(),
        gateway_namespace: KWICK_NAMESPACE.to_owned(),
        image,
        domain: DOMAIN.to_owned(),
        ingress_class: INGRESS_CLASS.to_owned(),
    }
}

/// What is there before the controllers, so that Pods that are taken back find it.
pub(super) struct DataPath {
    pub(super) plane: Arc<DataPlane>,
    pub(super) local: LocalTable,
    pub(super) hints: HintBus,
    pub(super) stats: mpsc::Sender<StatMessage>,
    received: mpsc::Receiver<StatMessage>,
    activator: Arc<Activator>,
    gateway: Arc<Gateway>,
    internal_tls: InternalTls,
    facts: GatewayFacts,
    open: oneshot::Sender<()>,
    opening: Opening,
}

impl DataPath {
    /// Starts the threads of the data plane; nothing is served yet.
    pub(super) fn start(process: &Process, record: &Record, workers: usize) -> Result<Self> {
        let plane = DataPlane::start("data-plane", workers, &process.tasks).context("cannot start the data plane")?;
        let (stats, received) = mpsc::channel(STATS_CAPACITY);
        let local = LocalTable::default();
        let upstream_parts = (&process.tasks, &process.metrics.sub("upstream"));
        let internal_tls = InternalTls::default();
        let connector = Connector::new().with_tls(internal_tls.client());
        let upstream = Upstream::new(local.clone(), connector, plane.workers(), upstream_parts);
        let activator = Activator::try_new(ActivatorParts {
            upstream: upstream.clone(),
            internal_tls: internal_tls.clone(),
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            stats: stats.clone(),
            pod_name: ACTIVATOR.to_owned(),
            // Whatever its Pods are called, it is one.
            pod_ip: None,
            clock: process.clock,
            tasks: process.tasks.clone(),
            metrics: process.metrics.sub("activator"),
        });
        let activator = activator.context("cannot make the activator")?;
        let facts = GatewayFacts::default();
        facts.join(GATEWAY);
        let gateway = make_gateway((process, record), upstream, &activator, facts.clone())?;
        let (open, opened) = oneshot::channel();
        // Whoever would open them has gone: they stay shut until the process ends.
        let opening = async {
            if opened.await.is_err() {
                std::future::pending().await
            }
        };
        Ok(Self {
            plane: Arc::new(plane),
            local,
            hints: HintBus::new(&process.metrics),
            stats,
            received,
            activator,
            gateway,
            internal_tls,
            facts,
            open,
            opening: opening.boxed().shared(),
        })
    }

    /// Adds Knative's parts to the roles of this process.
    pub(super) fn add_parts(&self, builtins: Builtins, process: &Process, logs: &PartLogs) -> Builtins {
        let parts = Parts {
            plane: Arc::clone(&self.plane),
            activator: Arc::clone(&self.activator),
            gateway: Arc::clone(&self.gateway),
            opening: self.opening.clone(),
            metrics: process.metrics.clone(),
            logs: logs.clone(),
            system: Where::Namespaces([SYSTEM_NAMESPACE, KWICK_NAMESPACE].map(str::to_owned).into()),
        };
        parts.add_to(builtins)
    }
}

/// Knative's parts at work.
pub(super) struct Knative {
    servers: Vec<ServerHandle>,
    _plane: Arc<DataPlane>,
}

/// What they are started with.
pub(super) struct KnativeParts<'a> {
    pub(super) process: &'a Process,
    pub(super) control: &'a ControlPlane,
    pub(super) record: &'a Record,
    pub(super) images: &'a Images,
    pub(super) explain: &'a Explain,
}

impl Knative {
    /// Starts the controllers, then opens the doors.
    pub(super) async fn start(path: DataPath, parts: KnativeParts<'_>, listeners: &mut Listeners) -> Result<Self> {
        let KnativeParts { process, control, record, images, explain } = parts;
        let DataPath { plane, activator, gateway, .. } = path;
        let probe = Arc::new(ServiceProbe { services: OnceCell::new(), tasks: process.tasks.clone() });
        let seams = Seams {
            resolver: Arc::new(images.clone()),
            activator_probe: Arc::<ServiceProbe>::clone(&probe),
            stats: path.received,
            gateways: path.facts,
        };
        let (context, explainer) = control.run_serving(process, settings(record), seams).await;
        let informers = &context.informers;
        let _ = probe.services.set(informers.get::<Service>(ObjectScope::all()));
        path.internal_tls.follow(informers, SYSTEM_NAMESPACE);
        activator.follow(informers, &path.hints);
        gateway.follow(informers);
        // A door opens when what is behind it is known: until then connections wait, and nobody is told that a service is not there.
        tokio::join!(
            async { informers.get::<Ingress>(ObjectScope::all()).synced().await },
            async { informers.get::<Service>(ObjectScope::all()).synced().await },
            async { informers.get::<Endpoints>(ObjectScope::all()).synced().await },
            async { informers.get::<Revision>(ObjectScope::all()).synced().await },
        );
        gateway.swap();
        explain.set(Explaining { api: control.api.clone(), explainer, gateway: Arc::clone(&gateway) });
        let mut servers = Vec::new();
        for sockets in [&mut listeners.gateway, &mut listeners.gateway_tls].map(std::mem::take) {
            let doors =
                sockets.into_iter().map(|socket| Listener::from_fd(socket.into()).context("cannot use a listener"));
            let served = gateway.serve(&plane, Side::Public, doors.collect::<Result<_>>()?, &process.tasks).await;
            servers.extend(served.context("cannot serve the gateway")?);
        }
        // No part waits if no Pod of theirs is there yet.
        let _ = path.open.send(());
        Ok(Self { servers, _plane: plane })
    }

    /// Waits until no request is in flight.
    pub(super) async fn drained(&self) {
        join_all(self.servers.iter().map(ServerHandle::drained)).await;
    }
}

fn make_gateway(
    (process, record): (&Process, &Record),
    upstream: Upstream,
    activator: &Arc<Activator>,
    facts: GatewayFacts,
) -> Result<Arc<Gateway>> {
    let served = move |ingress: &Key, version: Option<&str>| facts.serves(GATEWAY, ingress, version);
    let gateway = Gateway::try_new(GatewayParts {
        upstream,
        activator: Some(Arc::clone(activator)),
        ingress_class: INGRESS_CLASS.to_owned(),
        system_namespace: SYSTEM_NAMESPACE.to_owned(),
        external_tls_port: external_tls_port(record),
        served: Arc::new(served),
        tasks: process.tasks.clone(),
        metrics: process.metrics.sub("gateway"),
    });
    gateway.context("cannot make the gateway")
}

/// Where the outside finds the gateway's TLS.
fn external_tls_port(record: &Record) -> u16 {
    record.gateway_tls.map_or(443, |gateway| gateway.port())
}

fn settings(record: &Record) -> Settings {
    let balancer = |service: &str| LoadBalancerIngressStatus {
        domain_internal: format!("{service}.{KWICK_NAMESPACE}.svc.{CLUSTER_DOMAIN}"),
        ..LoadBalancerIngressStatus::default()
    };
    let default = Settings::default();
    let authority = record.authority_secret.as_deref().and_then(|secret| secret.split_once('/'));
    Settings {
        system_namespace: SYSTEM_NAMESPACE.to_owned(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        queue_proxy_args: vec![super::queue::ROLE.to_owned()],
        ingress_class: INGRESS_CLASS.to_owned(),
        certificate_class: record.certificate_class.clone().unwrap_or(default.certificate_class),
        authority_secret: authority.map_or(default.authority_secret, |(namespace, name)| Key::new(namespace, name)),
        external_port: record.gateway.map_or(80, |gateway| gateway.port()),
        external_tls_port: external_tls_port(record),
        public_load_balancer: balancer(GATEWAY),
        private_load_balancer: balancer(GATEWAY_SERVICE),
    }
}

/// Asks a Revision's public Service, over its ClusterIP, whether the activator answers.
struct ServiceProbe {
    /// Known once the controllers run.
    services: OnceCell<Informer<Service>>,
    tasks: Tasks,
}

impl ActivatorProbe for ServiceProbe {
    fn is_activator<'a>(&'a self, target: &'a ProbeTarget) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(address) = self.address(target) else { return false };
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(header::PROBE), HeaderValue::from_static(header::PROBE_ACTIVATOR));
            // By this name queue-proxy answers itself that it is no activator, and the user's container is not asked.
            headers.insert(USER_AGENT, HeaderValue::from_static(header::AUTOSCALING_AGENT));
            if let Ok(host) =
                HeaderValue::try_from(format!("{}.{}.svc.{CLUSTER_DOMAIN}", target.service, target.namespace))
            {
                headers.insert(HOST, host);
            }
            let probe = HttpProbe { target: Target::http1(address), path: "/healthz".to_owned(), headers };
            Probe::Http(probe).run(&Connector::new(), &self.tasks, PROBE_TIMEOUT).await.is_ok()
        })
    }
}

impl ServiceProbe {
    fn address(&self, target: &ProbeTarget) -> Option<SocketAddr> {
        let service = self.services.get()?.get(&Key::new(target.namespace.as_str(), target.service.as_str()))?;
        let ip = service.spec.as_ref()?.cluster_ip.as_deref()?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(ip, target.port))
    }
}

//! `kwick gateway`: the gateway as a process of its own, before a Knative that runs elsewhere.
//!
//! It serves the Ingresses of its class (`networking.internal.knative.dev`) as the gateway inside Kwick does, and reaches the activator by
//! its Service. SIGTERM and SIGINT have it drain as `kwick up` does: no new connections, then the requests in flight, then the end, within bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow};
use base_controller::{Context, ContextConfig, Key, Scope as ObjectScope};
use base_net::admin::Admin;
use base_net::connect::{Connector, LocalTable};
use base_net::listen::Listener;
use base_net::serve::{Server, ServerConfig, ServerHandle};
use base_net::workers::DataPlane;
use base_rt::metrics::Scope;
use base_rt::{Clock, Shutdown, Tasks};
use clap::Args;
use futures::FutureExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use knative_apis::meta::{CLUSTER_DOMAIN, SYSTEM_NAMESPACE};
use knative_apis::networking::{Ingress, LoadBalancerIngressStatus};
use knative_proxy::gateway::Side;
use knative_proxy::{Gateway as Proxy, GatewayParts, InternalTls, Upstream};
use knative_serving::manifests::{GATEWAY, GATEWAY_PORT, GATEWAY_PUBLIC_PORT, METRICS_PORT};
use knative_serving::{GatewayFacts, Settings};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::serve::INGRESS_CLASS;
use crate::serve::ending::{self, Signals};

/// Under which it reports Events.
/// Where its Service has TLS.
const HTTPS_PORT: u16 = 443;
const COMPONENT: &str = "kwick-gateway";

/// Serve the Ingresses of a Knative that runs elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kwick gateway --with-ingress-controller       in a Pod: the API is found by its service account
  kwick gateway --kubeconfig ~/.kube/config --public-addr 127.0.0.1:8080
")]
pub(super) struct Gateway {
    /// How the API is reached [default: the service account of the Pod].
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The class of the Ingresses that are served, as `ingress-class` of the ConfigMap config-network says it.
    #[arg(long, default_value = INGRESS_CLASS, value_name = "CLASS")]
    ingress_class: String,
    /// Where hosts that everybody may reach are served.
    #[arg(long, default_value_t = any(GATEWAY_PUBLIC_PORT), value_name = "IP:PORT")]
    public_addr: SocketAddr,
    /// Where hosts of the cluster are served as well.
    #[arg(long, default_value_t = any(GATEWAY_PORT), value_name = "IP:PORT")]
    private_addr: SocketAddr,
    /// Where health and metrics are served.
    #[arg(long, default_value_t = any(METRICS_PORT), value_name = "IP:PORT")]
    metrics_addr: SocketAddr,
    /// The namespace of the activator.
    #[arg(long, default_value = SYSTEM_NAMESPACE, value_name = "NAMESPACE")]
    system_namespace: String,
    /// Write the status of Ingresses as well; at most one gateway of a class may.
    #[arg(long)]
    with_ingress_controller: bool,
    /// The Service that leads to the private address; the status of Ingresses names it.
    #[arg(long, default_value = "kwick-system/gateway-internal", value_name = "NAMESPACE/NAME", value_parser = service_domain)]
    service: String,
    /// What is logged, as a `tracing` filter.
    #[arg(long, env = "KWICK_LOG", default_value = "warn", value_name = "FILTER", value_parser = super::log_filter)]
    log: String,
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// The name by which a Service is reached.
fn service_domain(text: &str) -> Result<String, String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) = parts.ok_or("it is NAMESPACE/NAME, such as kwick-system/gateway-internal")?;
    Ok(format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}"))
}

impl Gateway {
    pub(super) fn run(&self) -> Result<()> {
        base_rt::trace::init(&self.log, base_rt::trace::Format::Text).context("the log filter is not one")?;
        super::block_on(self.serve())?
    }

    async fn serve(&self) -> Result<()> {
        // From here on signals are noticed, however long the start takes.
        let mut signals = Signals::new()?;
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let opened = tokio::select! {
            biased;
            ended = end(&mut signals, &tasks) => Err(ended),
            doors = self.open(&tasks) => Ok(doors),
        };
        let (doors, ended) = match opened {
            Ok(Ok(doors)) => (Some(doors), end(&mut signals, &tasks).await),
            Ok(Err(error)) => (None, Err(error)),
            Err(ended) => (None, ended),
        };
        let servers = doors.iter().flat_map(|doors| &doors.servers);
        ending::drain(&handle, &tasks, join_all(servers.map(ServerHandle::drained)).map(drop)).await;
        ending::stop(&handle, &tasks).await;
        ended
    }

    /// Opens the doors once everything behind them is known.
    async fn open(&self, tasks: &Tasks) -> Result<Doors> {
        let (clock, metrics) = (Clock::system(), Scope::root());
        let context = Context::new(ContextConfig {
            client: self.client().await?,
            clock,
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            seed: std::process::id().into(),
            component: COMPONENT,
        });
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let plane = DataPlane::start("data-plane", workers, tasks).context("cannot start the data plane")?;
        let upstream = (tasks, &metrics.sub("upstream"));
        let facts = GatewayFacts::default();
        facts.join(GATEWAY);
        let told = facts.clone();
        let internal_tls = InternalTls::default();
        let connector = Connector::new().with_tls(internal_tls.client());
        let gateway = Proxy::try_new(GatewayParts {
            upstream: Upstream::new(LocalTable::default(), connector, plane.workers(), upstream),
            activator: None,
            ingress_class: self.ingress_class.clone(),
            system_namespace: self.system_namespace.clone(),
            external_tls_port: HTTPS_PORT,
            served: Arc::new(move |ingress: &Key, version: Option<&str>| told.serves(GATEWAY, ingress, version)),
            tasks: tasks.clone(),
            metrics: metrics.sub("gateway"),
        })
        .context("cannot make the gateway")?;
        let is_open = Arc::new(AtomicBool::new(false));
        let mut servers = vec![serve_metrics(self.metrics_addr, tasks, &metrics, &is_open)?];
        if self.with_ingress_controller {
            knative_serving::wire_ingress(&context, self.settings(), &facts);
        }
        internal_tls.follow(&context.informers, &self.system_namespace);
        gateway.follow(&context.informers);
        tokio::join!(
            async { context.informers.get::<Ingress>(ObjectScope::all()).synced().await },
            async { context.informers.get::<Service>(ObjectScope::all()).synced().await },
            async { context.informers.get::<Endpoints>(ObjectScope::all()).synced().await },
        );
        gateway.swap();
        for (side, addr) in [(Side::Public, self.public_addr), (Side::Private, self.private_addr)] {
            let listeners = Listener::tcp_set(addr, plane.workers())?;
            servers.extend(gateway.serve(&plane, side, listeners, tasks).await.context("cannot serve the gateway")?);
        }
        is_open.store(true, Ordering::Release);
        Ok(Doors { servers, _plane: plane })
    }

    async fn client(&self) -> Result<Client> {
        let config = match &self.kubeconfig {
            None => Config::incluster().context("this is no Pod with a service account; name a --kubeconfig")?,
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(file, &options).await;
                config.with_context(|| format!("{} does not lead to an API", path.display()))?
            }
        };
        Client::try_from(config).context("cannot speak to the API")
    }

    fn settings(&self) -> Settings {
        let domain_internal = self.service.clone();
        let balancer = LoadBalancerIngressStatus { domain_internal, ..LoadBalancerIngressStatus::default() };
        Settings {
            ingress_class: self.ingress_class.clone(),
            public_load_balancer: balancer.clone(),
            private_load_balancer: balancer,
            ..Settings::default()
        }
    }
}

/// Waits for what ends it: a signal, or a task that failed.
async fn end(signals: &mut Signals, tasks: &Tasks) -> Result<()> {
    tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        failure = tasks.failure() => Err(anyhow!(failure)),
    }
}

/// What serves, as long as it is held.
struct Doors {
    servers: Vec<ServerHandle>,
    _plane: DataPlane,
}

/// Health and metrics of the process; ready once the doors are open.
fn serve_metrics(addr: SocketAddr, tasks: &Tasks, metrics: &Scope, is_open: &Arc<AtomicBool>) -> Result<ServerHandle> {
    let is_open = Arc::clone(is_open);
    let check = move || is_open.load(Ordering::Acquire).then_some(()).ok_or_else(|| "it is not open yet".to_owned());
    let admin = Admin::builder(tasks.shutdown(), metrics).with_check("doors", check).build();
    let server = Server::new(ServerConfig::new("metrics"), tasks, &Scope::root());
    server.start(Listener::tcp(addr)?, move |_| admin.clone()).context("cannot serve metrics")
}

//! Keeps Service, Configuration, Revision, Route, DomainMapping, PodAutoscaler, ServerlessService, Ingress and Certificate true; runs the
//! autoscaler.
//!
//! ```text
//! Service ──► Configuration ──► Revision ──► Deployment ──► (Pods, by the cluster)
//!    │                             │  └────► PodAutoscaler ──► ServerlessService ──► private and public Service, Endpoints
//!    └──────► Route ──► Ingress, placeholder Services      └──► Metric
//! DomainMapping ──► ClusterDomainClaim, Ingress
//! Route, DomainMapping, namespace ──► Certificate ──► Secret
//!
//! digest ─┐  autoscaler ─┐  probe ─┐  gateways ─┐      facts that plans read; each change wakes the key
//!         ▼              ▼         ▼            ▼
//!      Revision     PodAutoscaler ◄┘         Ingress
//! ```
//! What this crate knows: Knative's kinds (from `knative_apis`), its decisions (from `knative_logic`), and how they become objects. It has
//! one `kube::Client` and does not know who answers.
//!
//! **What it must not know**: how containers run, how requests move, what stands behind the API, where images come from. What crosses to the
//! data plane are statistics in ([`Seams::stats`]) and facts about gateways ([`GatewayFacts`]); the network is behind [`digest::Resolver`]
//! and [`pod_autoscaler::probe::ActivatorProbe`].
//!
//! Where to start: [`wire`], then a folder of a kind: each has `mod` (what it means, who else writes, what wakes it), `observe` (the facts),
//! `plan` (the decision, pure), `resources` (makers, pure) and `status`. Rows of data beside each hold its plans.
//!
//! [`explain`] tells why a Service is as it is: the facts, decisions and outcomes of all of these.
//!
//! Texts, names and reasons are those of Knative Serving v1.23, because clients match on them.

pub mod autoscaler;
mod caches;
mod certificate;
mod certified;
mod config;
mod configuration;
pub mod digest;
mod domain_mapping;
pub mod dry_run;
pub mod explain;
mod gc;
#[cfg(test)]
mod golden;
mod ingress;
mod json;
mod labeler;
mod lister;
pub mod manifests;
mod metric;
mod namespace_certificate;
pub mod pod_autoscaler;
mod pods;
pub mod rbac;
mod revision;
mod route;
mod serverless_service;
mod service;
mod settings;
mod status;
mod waker;

use std::sync::Arc;

use base_controller::writers::Declaration;
use base_controller::{Context, Reconciler};
use knative_apis::stat::StatMessage;
use tokio::sync::mpsc;

use caches::{Caches, Informed};
use config::ConfigStores;
use digest::{DigestFacts, Resolver};
use explain::Explainer;
pub use ingress::GatewayFacts;
use pod_autoscaler::probe::ActivatorProbe;
pub use settings::{AUTHORITY_SECRET, Settings};
use waker::Waker;

/// Statistics that may wait for the autoscaler. What does not fit is the sender's to drop: the next second brings new ones.
pub const STATS_CAPACITY: usize = 4096;

/// What the controllers need from outside of the API.
pub struct Seams {
    /// Finds digests of images.
    pub resolver: Arc<dyn Resolver>,
    /// Asks whether the activator answers for a Revision.
    pub activator_probe: Arc<dyn ActivatorProbe>,
    /// What activator and queue-proxies measure. Whoever scrapes Pods elsewhere sends what it finds into the same channel.
    pub stats: mpsc::Receiver<StatMessage>,
    /// What gateways say they serve. Made by the caller, so that gateways may join before the controllers run.
    pub gateways: GatewayFacts,
}

/// Starts all controllers and the autoscaler, as the identity of `context`'s client. Who wants to know why something is as it is asks what
/// it returns.
pub fn wire(context: &Context, settings: Settings, seams: Seams) -> Explainer {
    let settings = Arc::new(settings);
    let informed = Informed::new(context);
    let caches = Caches::live(&informed);
    let configs = ConfigStores::follow(context, Arc::clone(&settings));
    let all = (&informed, &caches, &configs);
    service::wire(context, &informed, &caches);
    configuration::wire(context, &informed, &caches);
    wire_revision(context, all, seams.resolver);
    route::wire(context, all);
    domain_mapping::wire(context, all);
    certificate::wire(context, (&informed, &caches), &settings);
    namespace_certificate::wire(context, all);
    labeler::wire(context, &informed, &caches);
    gc::wire(context, all);
    serverless_service::wire(context, (&informed, &caches), &settings.system_namespace);
    metric::wire(context, &informed, &caches);
    ingress::wire(context, &informed.ingresses, &settings, &seams.gateways);
    wire_autoscaler(context, all, (seams.stats, seams.activator_probe));
    Explainer::new(context, configs.autoscaler())
}

/// Starts the controller of Ingresses alone: for a gateway whose Knative is somebody else's. Of `settings`, the class and the two load
/// balancers count.
pub fn wire_ingress(context: &Context, settings: Settings, gateways: &GatewayFacts) {
    let ingresses = context.informers.get(base_controller::Scope::all());
    ingress::wire(context, &ingresses, &Arc::new(settings), gateways);
}

fn wire_revision(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
    resolver: Arc<dyn Resolver>,
) {
    let (digests, waker) = (DigestFacts::default(), Waker::default());
    // The service sees a new Revision before its controller does, so that the first plan may already find the digests.
    digest::start(context, &informed.revisions, (&digests, &waker), configs, resolver);
    waker.bind(revision::wire(context, (informed, caches, configs), &digests));
}

fn wire_autoscaler(
    context: &Context,
    (informed, caches, configs): (&Informed, &Caches, &ConfigStores),
    (stats, probe): (mpsc::Receiver<StatMessage>, Arc<dyn ActivatorProbe>),
) {
    let (facts, waker) = (pod_autoscaler::Facts::default(), Waker::default());
    let inputs = autoscaler::Inputs { stats, decisions: facts.decisions.clone(), waker: waker.clone() };
    autoscaler::start(context, (informed, caches, configs), inputs);
    pod_autoscaler::probe::start(context, &informed.pod_autoscalers, caches, (&facts.probes, &waker), probe);
    waker.bind(pod_autoscaler::wire(context, (informed, caches, configs), facts));
}

/// What each controller writes, for `docs/writers.md`.
pub fn declarations() -> Vec<Declaration> {
    vec![
        ("service", service::ServiceReconciler::WRITES),
        ("configuration", configuration::ConfigurationReconciler::WRITES),
        ("revision", revision::RevisionReconciler::WRITES),
        ("route", route::RouteReconciler::WRITES),
        ("domainmapping", domain_mapping::DomainMappingReconciler::WRITES),
        ("certificate", certificate::CertificateReconciler::WRITES),
        ("namespacecertificate", namespace_certificate::NamespaceCertificates::WRITES),
        ("labeler", labeler::Labeler::WRITES),
        ("gc", gc::RevisionCollector::WRITES),
        ("podautoscaler", pod_autoscaler::PodAutoscalerReconciler::WRITES),
        ("serverlessservice", serverless_service::ServerlessServiceReconciler::WRITES),
        ("metric", metric::MetricReconciler::WRITES),
        ("ingress", ingress::IngressReconciler::WRITES),
    ]
}

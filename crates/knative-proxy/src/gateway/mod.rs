//! The gateway: what stands at the door. Public hosts for everybody, cluster-local ones for the inside.
//!
//! ```text
//! Ingresses ─► Routes (ArcSwap'd route table) ─► Served (told once it is in use)
//! Services, Endpoints ─► Backends (a cell each)
//! Ingresses, Secrets ─► HostCertificates
//! listener (public or private), one per worker ─► handler ─► Upstream │ Activator
//! ```
//! Invariants: a request that has a host of a ready Ingress never sees a table without it; a header that decides where a request goes never
//! comes from outside; nothing is waited for with a table in hand.
//!
//! Without an [`Activator`] in the process, requests for it go to its address like to any Pod's: the stack is cut there and answers the same.

mod backends;
mod certificates;
mod explain;
mod handler;
mod routes;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base_controller::{Informer, Informers, Key, Scope};
use base_net::listen::Listener;
use base_net::serve::{Peer, Server, ServerConfig, ServerHandle, Transport};
use base_net::tls::{self, ClientAuth, TlsError};
use base_net::workers::{DataPlane, WorkerError};
use base_net::{BoxError, Request, Response};
use base_rt::metrics::Scope as Metrics;
use base_rt::{Phase, Tasks};
use futures::future::BoxFuture;
use http::HeaderValue;
use k8s_openapi::api::core::v1::{Endpoints, Secret, Service};
use knative_apis::meta::{self, ACTIVATOR_SERVICE};
use knative_apis::networking::Ingress;
pub use knative_logic::route_table::Side;

use crate::activator::Activator;
use crate::{Upstream, forwarded};
use backends::Backends;
pub(crate) use backends::ready_addresses;
use certificates::HostCertificates;
pub(crate) use certificates::TLS_SECRETS;
pub use explain::{Destination, Leads, Share};
use handler::Asker;
use routes::Routes;
pub use routes::Served;

/// What a gateway is made from.
pub struct GatewayParts {
    /// How it reaches Pods.
    pub upstream: Upstream,
    /// The activator of this process; none if it is reached by its Service.
    pub activator: Option<Arc<Activator>>,
    /// The class of the Ingresses that it serves, such as `kwick`.
    pub ingress_class: String,
    /// Where `activator-service` is, such as `knative-serving`.
    pub system_namespace: String,
    /// The port at which the outside finds its TLS, for those who are redirected there.
    pub external_tls_port: u16,
    /// Who is told what is served.
    pub served: Arc<dyn Served>,
    /// The process's tasks.
    pub tasks: Tasks,
    /// Where metrics are registered, under names of the gateway's own.
    pub metrics: Metrics,
}

/// A gateway. Shared by the workers.
pub struct Gateway {
    upstream: Upstream,
    activator: Option<Arc<Activator>>,
    routes: Routes,
    backends: Backends,
    certificates: HostCertificates,
    activator_service: Key,
    external_tls_port: u16,
    served: Arc<dyn Served>,
    tasks: Tasks,
    servers: [Server; 2],
}

/// What Backends are made from.
struct Caches {
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    reading: Mutex<()>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("has_activator", &self.activator.is_some()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that knows no host yet.
    ///
    /// # Errors
    /// TLS cannot be configured.
    pub fn try_new(parts: GatewayParts) -> Result<Arc<Self>, TlsError> {
        let GatewayParts {
            upstream,
            activator,
            ingress_class,
            system_namespace,
            external_tls_port,
            served,
            tasks,
            metrics,
        } = parts;
        let certificates = HostCertificates::default();
        let tls = tls::server_config(certificates.certificates(), ClientAuth::None)?;
        let config = |name| ServerConfig { transport: Transport::Either(Arc::clone(&tls)), ..ServerConfig::new(name) };
        Ok(Arc::new(Self {
            upstream,
            activator,
            routes: Routes::new(&ingress_class),
            backends: Backends::default(),
            certificates,
            activator_service: Key::new(system_namespace, ACTIVATOR_SERVICE),
            external_tls_port,
            served,
            servers: ["public", "private"].map(|name| Server::new(config(name), &tasks, &metrics)),
            tasks,
        }))
    }

    /// Serves what the API says, from now on: Ingresses, Services and Endpoints of all namespaces. What it serves is told once all three
    /// are known; hosts have their certificates as soon as their Secrets are.
    pub fn follow(self: &Arc<Self>, informers: &Informers) {
        let ingresses: Informer<Ingress> = informers.get(Scope::all());
        let services: Informer<Service> = informers.get(Scope::all());
        let endpoints: Informer<Endpoints> = informers.get(Scope::all());
        let caches =
            Arc::new(Caches { services: services.clone(), endpoints: endpoints.clone(), reading: Mutex::default() });
        let secrets: Informer<Secret> = informers.get(Scope::all().with_fields(format!("type={TLS_SECRETS}")));
        let gateway = Arc::clone(self);
        secrets.subscribe(move |delta| {
            let Some(key) = delta.latest().map(|latest| Key::of(&**latest)) else { return };
            gateway.set_secret(&key, delta.new.map(|new| &**new));
        });
        let (gateway, of_services) = (Arc::clone(self), Arc::clone(&caches));
        services.subscribe(move |delta| {
            delta.latest().iter().for_each(|latest| gateway.refresh(&of_services, &Key::of(&***latest)));
        });
        let (gateway, of_endpoints) = (Arc::clone(self), caches);
        endpoints.subscribe(move |delta| {
            delta.latest().iter().for_each(|latest| gateway.refresh(&of_endpoints, &Key::of(&***latest)));
        });
        let gateway = Arc::clone(self);
        ingresses.subscribe(move |delta| {
            let Some(key) = delta.latest().map(|latest| Key::of(&**latest)) else { return };
            gateway.set_ingress(&key, delta.new.map(|new| &**new));
        });
        let (gateway, shutdown) = (Arc::clone(self), self.tasks.shutdown().clone());
        self.tasks.spawn("gateway/routes", async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped) => {}
                () = async {
                    tokio::join!(ingresses.synced(), services.synced(), endpoints.synced());
                    loop {
                        gateway.swap();
                        gateway.routes.changed().await;
                    }
                } => {}
            }
            Ok(())
        });
    }

    /// Takes a Service and its Endpoints in as they are now.
    fn refresh(&self, caches: &Caches, key: &Key) {
        // Read and set as one: of two threads the later one has read what is newer.
        let _reading = caches.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = caches.endpoints.get(key);
        if *key == self.activator_service && self.set_activators(endpoints.as_deref()) {
            for service in caches.services.list() {
                let key = Key::of(&*service);
                self.set_backend(&key, Some(&service), caches.endpoints.get(&key).as_deref());
            }
        }
        self.set_backend(key, caches.services.get(key).as_deref(), endpoints.as_deref());
    }

    /// What an Ingress is now; served with the next [`Gateway::swap`].
    pub fn set_ingress(&self, key: &Key, ingress: Option<&Ingress>) {
        let ours = ingress.filter(|ingress| self.routes.is_ours(ingress));
        self.certificates.set_ingress(key, ours);
        self.routes.set(key, ours);
    }

    /// What a Secret with a certificate is now; used at once.
    pub fn set_secret(&self, key: &Key, secret: Option<&Secret>) {
        self.certificates.set_secret(key, secret);
    }

    /// What a Service and its Endpoints are now; used at once.
    pub fn set_backend(&self, key: &Key, service: Option<&Service>, endpoints: Option<&Endpoints>) {
        self.backends.set(&meta::Key::new(key.namespace(), key.name()), service, endpoints);
    }

    /// Where the activators are now. True if that is new: then the Services are to be set again.
    pub fn set_activators(&self, endpoints: Option<&Endpoints>) -> bool {
        self.backends.set_activators(endpoints)
    }

    /// Serves the Ingresses that were set, and tells so.
    pub fn swap(&self) {
        self.routes.swap(&*self.served);
    }

    /// Serves listeners of one side on the data plane's workers: HTTP/1.1 and HTTP/2, with TLS for those who begin with it and ask for a host
    /// that has a certificate.
    ///
    /// # Errors
    /// A listener cannot be used, or the workers have ended.
    pub async fn serve(
        self: &Arc<Self>,
        plane: &DataPlane,
        side: Side,
        listeners: Vec<Listener>,
        tasks: &Tasks,
    ) -> Result<Vec<ServerHandle>, WorkerError> {
        let [public, private] = &self.servers;
        let server = if side == Side::Public { public } else { private };
        let gateway = Arc::clone(self);
        plane.serve(&server.under(tasks), listeners, move |_worker, peer| gateway.service(side, peer)).await
    }

    /// The service of one connection.
    pub fn service(self: &Arc<Self>, side: Side, peer: &Peer) -> GatewayService {
        let is_trusted = peer.remote.is_some_and(|addr| forwarded::is_trusted(addr.ip()));
        let client = peer.remote.and_then(|addr| HeaderValue::try_from(addr.ip().to_string()).ok());
        let client = client.unwrap_or(HeaderValue::from_static("unknown"));
        let scheme = if peer.tls.is_some() { "https" } else { "http" };
        GatewayService { gateway: Arc::clone(self), asker: Asker { side, client, is_trusted, scheme } }
    }
}

/// Answers the requests of one connection.
#[derive(Clone, Debug)]
pub struct GatewayService {
    gateway: Arc<Gateway>,
    asker: Asker,
}

impl tower_service::Service<Request> for GatewayService {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { gateway, asker } = self.clone();
        Box::pin(async move { Ok(gateway.answer(&asker, request).await) })
    }
}

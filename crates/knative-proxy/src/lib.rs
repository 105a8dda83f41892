//! Moves requests: the gateway, the activator and queue-proxy, as one stack that may be cut.
//!
//! ```text
//! client ─► Gateway ─┬─► (Pods ready) ─────────────────────────┐
//!                    └─► Activator: wait, wake, pick a Pod ────┴─► queue-proxy ─► user's container
//! ```
//! Each arrow is a call where both ends are in one process, and a socket elsewhere: [`Upstream`] looks into the process-local table
//! (`base_net::connect::LocalTable`, where [`queue::start`] enters itself) and dials otherwise; a [`Gateway`] made without an [`Activator`]
//! sends to its address. The answers are the same.
//!
//! What this crate knows: HTTP, Knative's headers, probes, bounds and texts on the request path, and which objects say where requests go.
//!
//! **What it must not know**: how many Pods there should be (it only tells what it counts), who makes the objects that it reads, how
//! containers run, who answers its API client.
//!
//! # How a process starts the roles
//!
//! All of it embedded, in this order, on the main runtime (`kwick::roles` does so; `tests/it` has it in small):
//!
//! ```text
//! let plane    = DataPlane::start("proxy", cores, &tasks)?;
//! let local    = LocalTable::default();                              // also given to every queue-proxy
//! let internal = InternalTls::default();                             // .follow(&context.informers, system_namespace)
//! let upstream = Upstream::new(local.clone(), Connector::new().with_tls(internal.client()), plane.workers(), (&tasks, &metrics));
//! let activator = Activator::try_new(ActivatorParts { upstream, internal_tls, stats, pod_name, pod_ip, clock, tasks, metrics })?;
//! activator.follow(&context.informers, &hints);                      // Revisions, Endpoints, config-observability; `Listening`
//! activator.serve(&plane, &door, &tasks).await?;                      // 8012, 8013 and 8112, for those who reach it by activator-service
//! let gateway = Gateway::try_new(GatewayParts { upstream, activator: Some(activator), ingress_class, system_namespace, external_tls_port, served, tasks, metrics });
//! gateway.follow(&context.informers);                                // Ingresses, Services, Endpoints
//! gateway.serve(&plane, Side::Public, public_listeners, &tasks).await?; // Listener::tcp_set(addr, plane.workers()), or Listener::shared
//! gateway.serve(&plane, Side::Private, private_listeners, &tasks).await?;
//! ```
//! - `served` is a closure: `move |ingress, version| facts.serves("gateway", ingress, version)` after `facts.join("gateway")`.
//! - The account of the informers' client must list and watch Revisions, Ingresses, Services, Endpoints and Secrets of all namespaces.
//! - The controllers' probe of the activator may ask [`Gateway::leads_to_activator`] with a public Service and its port.
//! - A queue-proxy in process: [`queue::Config::from_env`] on the container's variables, then [`queue::start`] with the Pod's listeners, a
//!   `Connector` with the Pod's sockets, `local`, the autoscaler's sender and `plane.workers()`. The container has ended when
//!   [`queue::Queue::ended`] has.
//! - A queue-proxy as a process (`kwick::cli::queue_proxy`): the same with listeners of its own on 8012, 8013, 8022, 9090 and 9091,
//!   `Connector::new()`, no `local`, no `stats`, no workers; its `shutdown` becomes `Lame` at SIGTERM.
//!
//! Invariants
//! - A slot, a count or a place in line is a guard: it is given back wherever a request ends, also when its client goes away.
//! - A request that is in flight is never sent twice, but if nothing of it was sent.
//! - Nothing is polled: a request waits for capacity, capacity for Endpoints or for a Pod's own word.
//! - On the way of a request no lock is taken that all requests take, and none is held while anything is waited for.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::expect_used))]

pub mod activator;
mod forwarded;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
pub mod gateway;
mod headers;
mod hold;
mod internal_tls;
mod pods;
pub mod queue;
mod random;
mod request_log;
mod request_stats;
mod timeouts;
mod upstream;

pub use activator::{Activator, ActivatorParts};
pub use gateway::{Gateway, GatewayParts};
pub use internal_tls::InternalTls;
pub use request_log::LogSink;
pub use timeouts::Timeouts;
pub use upstream::{Unanswered, UnsentRequest, Upstream};

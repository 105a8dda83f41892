//! `serving.knative.dev/v1`: Service, Configuration, Revision and Route.
//!
//! A [`Service`] is a [`Configuration`] and a [`Route`] of one name. A Configuration makes a
//! [`Revision`] for each change of its template; a Route sends traffic to Revisions.

pub mod configuration;
pub mod revision;
pub mod route;
pub mod service;

pub use configuration::{Configuration, ConfigurationSpec, ConfigurationStatus};
pub use revision::{ContainerStatus, Revision, RevisionSpec, RevisionStatus, RevisionTemplateSpec, RoutingState};
pub use route::{Route, RouteSpec, RouteStatus, TrafficTarget};
pub use service::{Service, ServiceSpec, ServiceStatus};

//! Routes of the embedding program beside the API: handlers under a path, open to whoever the rules let (`nonResourceURLs`).

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};

use super::body::Body;
use super::service::RequestBody;
use crate::identity::Identity;

/// An answer under way.
pub type RouteFuture = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers requests under a path. Who asks has been authenticated and authorised.
pub trait RouteHandler: Send + Sync {
    /// Answers one request.
    fn call(&self, request: Request<RequestBody>, identity: &Identity) -> RouteFuture;
}

/// A path and what answers under it.
#[derive(Clone)]
pub struct Route {
    /// The path; what follows it after a slash belongs to it too.
    pub prefix: String,
    /// The handler.
    pub handler: Arc<dyn RouteHandler>,
}

impl Route {
    /// Whether a path belongs to it.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

//! Everything that answering a request needs, in one place; shared by every service and client of the server.

use std::sync::Arc;

use base_rt::{Clock, Tasks, Timestamp};

use crate::admit::Admission;
use crate::admit::quota::Quotas;
use crate::admit::service_ip::ServiceIps;
use crate::admit::webhook::Webhooks;
use crate::audit::Auditor;
use crate::authn::Authenticator;
use crate::authz::Rbac;
use crate::discovery::Discovery;
use crate::entropy::Entropy;
use crate::hooks::Hooks;
use crate::http::limits::Limits;
use crate::http::routes::Route;
use crate::measures::Measures;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::store::Store;
use crate::store::durability::LazyTable;
use crate::streams::PodStreams;
use crate::subresource::log::PodLogs;

pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) entropy: Entropy,
    pub(crate) lazy: LazyTable,
    pub(crate) authenticator: Authenticator,
    pub(crate) rbac: Rbac,
    pub(crate) audit: Option<Auditor>,
    pub(crate) admissions: Vec<Arc<dyn Admission>>,
    pub(crate) webhooks: Webhooks,
    pub(crate) hooks: Hooks,
    pub(crate) service_ips: ServiceIps,
    pub(crate) quotas: Quotas,
    pub(crate) logs: Option<Arc<dyn PodLogs>>,
    pub(crate) measures: Option<Arc<dyn Measures>>,
    pub(crate) streams: Option<Arc<dyn PodStreams>>,
    pub(crate) routes: Vec<Route>,
    pub(crate) discovery: Discovery,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
}

impl Core {
    /// The present time as objects show it: whole seconds.
    pub(crate) fn now_text(&self) -> String {
        time_text(self.clock.now())
    }
}

/// A time as objects show it: RFC 3339 with whole seconds.
pub(crate) fn time_text(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

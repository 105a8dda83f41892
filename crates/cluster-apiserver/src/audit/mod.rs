//! The audit log: who asked for what, when, and what came of it, as events of `audit.k8s.io/v1`, one JSON object a line.
//!
//! ```text
//! request ─► Policy: level, stages ─► Trail ── RequestReceived ─► ResponseStarted (watches, logs, sessions) ─► ResponseComplete
//!                                                     └───────────────────────┴────────► Log: bounded queue ─► thread ─► file
//! ```
//! Specified by apiserver's `audit` packages. There is none unless the embedding program asks for it. It never holds a request up: when the disk is
//! slow or full, events are dropped, counted and told.

mod log;
mod policy;
mod trail;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base_rt::Clock;
use http::Request;

pub use policy::{Policy, PolicyError};
pub(crate) use trail::{Closing, Trail};

use crate::entropy::Entropy;
use crate::http::path::RequestPath;
use crate::http::service::RequestBody;
use crate::identity::Identity;
use crate::metrics::Metrics;
use log::Log;
use policy::Asked;

/// The address at the other end of a connection; put into a request by whoever accepted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// What is recorded of which requests.
    pub policy: Policy,
    /// The file that events are appended to. Older ones are beside it, with the time of their end in their name.
    pub path: PathBuf,
    /// A file with so many megabytes is put aside.
    pub max_size_mb: u64,
    /// So many files that were put aside are kept; 0 for all.
    pub max_backups: usize,
    /// Files that were put aside are kept for so many days; 0 for ever.
    pub max_age_days: u32,
}

/// Records requests.
pub(crate) struct Auditor {
    policy: Policy,
    log: Arc<Log>,
    clock: Clock,
}

impl Auditor {
    /// Opens the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn open(config: AuditConfig, clock: Clock, metrics: &Metrics) -> std::io::Result<Self> {
        let policy = config.policy.clone();
        let log = Arc::new(Log::open(config, clock, metrics)?);
        Ok(Self { policy, log, clock })
    }

    /// Begins the record of a request, unless the policy wants none; `who` is nobody if that could not be told.
    pub(crate) fn begin(
        &self,
        request: &Request<RequestBody>,
        path: &RequestPath,
        verb: &str,
        who: Option<&Identity>,
        entropy: &Entropy,
    ) -> Option<Arc<Trail>> {
        let asked = Asked { who, verb, path: request.uri().path(), of: path };
        let rule = self.policy.rule(&asked)?;
        Some(Arc::new(Trail::begin(request, &asked, rule, Arc::clone(&self.log), self.clock, entropy)))
    }

    /// Brings what waits to the file, and ends the writing.
    pub(crate) fn close(&self) {
        self.log.close();
    }
}

//! `kwick explain`: the answer as it crosses the wire, and as a person reads it.
//!
//! ```text
//! serve::explain   facts of the controllers, objects of the asker, the gateway's route ─► Answer ─► JSON
//! cli::explain     JSON ─► Answer ─► text
//! ```

mod next;
#[cfg(test)]
mod tests;
mod text;

use knative_proxy::gateway::Destination;
use knative_serving::explain::Explanation;
use serde::{Deserialize, Serialize};

pub(crate) use next::next;
pub(crate) use text::text;

/// Why a Service is as it is, where a request goes, and what to do next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub(crate) explanation: Explanation,
    /// Where a request would go; none where nobody asked, and the Service has no URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Request>,
    /// What to type next.
    pub(crate) next: Vec<Step>,
}

/// A request that might be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// Its URL.
    pub(crate) url: String,
    /// What the gateway would do with it.
    pub(crate) fate: Fate,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Fate {
    /// It is routed.
    Routed(Destination),
    /// It is routed by an Ingress that whoever asks may not read.
    Withheld,
    /// Nobody has its host, or its path: 404.
    Unknown,
}

/// A command, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What to type.
    pub(crate) command: String,
    /// What it is for.
    pub(crate) why: String,
}

//! From a Route to its targets, and from these to hosts and an Ingress.
//!
//! ```text
//! Route.spec.traffic + what is known of Configurations and Revisions ─assign─► Assignment
//! Assignment + Rollout + Hosts ─► status.traffic, Ingress spec
//! ```
//!
//! - [`assign`](fn@assign) finds a ready revision for every target, or says what is missing;
//! - [`Hosts`] names the hosts of a Route and its tags, and says who can reach them;
//! - [`make_ingress_spec`] writes the rules, [`status_traffic`] what the Route says of itself.
//!
//! Shares under the Route's own host sum to 100 when the Route's do; under a tag they are 100.

mod assign;
mod hosts;
mod ingress;
mod status;
#[cfg(test)]
mod tests;

pub use assign::{
    Assignment, ConfigurationFact, Known, Missing, RevisionFact, Target, TargetError, TargetFacts, assign,
};
pub use hosts::{HostError, Hosts};
pub use ingress::{HttpOptionError, IngressOptions, IngressParts, challenge_path, http_option, make_ingress_spec};
pub use status::status_traffic;

/// The name of the Route's own host among the targets.
pub const DEFAULT_TARGET: &str = "";

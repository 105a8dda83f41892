//! Builds the control plane out of its parts: the API with Knative's admission, what is installed into it, and the controllers of both houses.
//!
//! ```text
//! ControlPlane::open        ApiServer::start ─► install (CRDs, namespaces, accounts, rules, ConfigMaps, Services)
//!   │  what must be there before any controller runs (Pods that a node brings back) comes here
//!   ├─ run_cluster          cluster_workloads::wire, each controller as its own account
//!   └─ run_serving          admission follows the ConfigMaps; knative_serving::wire, as the account of Knative's controller
//! ```
//! Nothing here reads the environment, the disk or the clock: whoever calls hands in a [`Process`], a journal (in the [`ApiServerConfig`]) and
//! the seams. So a simulation runs what the binary runs.
//!
//! [`ApiServerConfig`]: cluster_apiserver::ApiServerConfig

mod admission;
mod control_plane;
pub mod install;
mod process;

pub use admission::KnativeAdmission;
pub use control_plane::{ControlPlane, Level, OpenError};
pub use process::{ClientMaker, Process};

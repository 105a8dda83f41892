//! The whole control plane in one process and in virtual time: API, Knative's admission, the controllers of both houses, and pretenders for
//! everything that would run or listen (node, gateway, activator, queue-proxies, registry).
//!
//! ```text
//! script (a user) ──calm──► API ◄──weather── controllers        World: what lives, and how it dies and comes back
//!                            ▲ calm                             Weather: conflicts, errors, lost and slow watches, crashes
//!                   node, gateway, activator                    state: what is left at the end, without what may differ
//! ```
//! A seed decides everything, so that it replays exactly: one thread, a paused clock, every draw from it, every queue in a fixed order. The
//! program `simulate` runs many ([`run`]), and one again. Besides the ends of two runs, which are compared, there are laws
//! for every moment, and what the API has acknowledged to the user has to survive the machine's death.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::disallowed_methods, reason = "tests play users, who write objects directly")]
#![expect(clippy::print_stderr, reason = "a seed that fails says how to replay it")]

pub mod at_work;
mod gateway;
pub mod laws;
mod ledger;
mod pretend;
pub mod run;
pub mod script;
pub mod state;
mod traffic;
mod user;
mod weather;
mod world;

pub use user::User;
pub use weather::{CONTROLLERS, Climate, Faults, Weather};
pub use world::{Death, World};

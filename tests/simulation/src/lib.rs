//! The whole control plane in one process and in virtual time: API, Knative's admission, the controllers of both houses, and pretenders for
//! everything that would run or listen (node, gateway, activator, queue-proxies, registry).
//!
//! ```text
//! script (a user) ──calm──► API ◄──weather── controllers        World: what lives, and how it dies and comes back
//!                            ▲ calm                             Weather: conflicts, errors, lost and slow watches, crashes
//!                   node, gateway, activator                    state: what is left at the end, without what may differ
//! ```
//! A seed decides everything. `KWICK_SIM_SEED=n` replays one, `KWICK_SIM_SEEDS=n` tries `n` fresh ones.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::disallowed_methods, reason = "tests play users, who write objects directly")]

mod gateway;
mod pretend;
pub mod script;
pub mod state;
mod traffic;
mod user;
mod weather;
mod world;

pub use user::User;
pub use weather::{Climate, Weather};
pub use world::World;

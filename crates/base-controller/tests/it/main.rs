//! Controllers against a small API server, in virtual time: informers, apply's rules, the driver, and that a seed gives one trace.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test")]
#![expect(clippy::disallowed_methods, reason = "tests play the user, who writes objects directly")]

mod apply;
mod driver;
mod fake_api;
mod informer;
mod stores;
mod trace;
mod workload;

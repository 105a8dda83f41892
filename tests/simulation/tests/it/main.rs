//! Simulation of the whole control plane.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers fail the test and say what happened")]
#![expect(clippy::disallowed_methods, reason = "a test has no command line: the environment says which seeds")]

mod happy;
mod jobs;
mod seeds;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use simulation::World;

/// Runs `test` beside a world that heals itself, in virtual time.
fn in_virtual_time<T>(test: impl Future<Output = T>) -> T {
    if std::env::var_os("RUST_LOG").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
    }
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test)
}

/// `script`, while `world` lives.
async fn beside<T>(world: &World, script: impl Future<Output = T>) -> T {
    // The whole control plane is in it.
    let life: Pin<Box<dyn Future<Output = Infallible> + '_>> = Box::pin(world.live());
    tokio::select! {
        biased;
        never = life => match never {},
        done = script => done,
    }
}

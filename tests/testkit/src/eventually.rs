//! Waiting for a level instead of sleeping.

use std::future::Future;
use std::time::Duration;

/// How often the condition is looked at. In paused time this costs nothing.
const STEP: Duration = Duration::from_millis(10);
/// After this time it will not come any more.
const LIMIT: Duration = Duration::from_secs(300);

/// Waits until `is_so` says so. Fails the test, naming `what`, when that takes too long (in tokio's time).
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl FnMut() -> F) {
    eventually_every(STEP, what, is_so).await;
}

/// As [`eventually`], for what comes late: the condition is looked at that often only.
pub async fn eventually_every<F: Future<Output = bool>>(step: Duration, what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(step).await;
    }
}

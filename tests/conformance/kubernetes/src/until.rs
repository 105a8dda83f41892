//! Waiting for a level.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until there is something, or says after `limit` what was waited for. An error of a look ends it at once.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

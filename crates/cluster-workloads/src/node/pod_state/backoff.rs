//! Delays between tries: the kubelet's.

use jiff::SignedDuration;

/// The first delay of a back-off, and the longest.
pub(super) const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(10);
pub(super) const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(300);
/// How long a container has to run for its crashes to be forgiven.
pub(super) const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// The first delay after which what a Pod needs before its containers is tried again, and the longest.
pub(super) const RETRY_FIRST: SignedDuration = SignedDuration::from_millis(500);
pub(super) const RETRY_MAX: SignedDuration = SignedDuration::from_secs(120);
/// Doublings after which any back-off has reached its maximum.
pub(super) const MAX_LEVEL: u32 = 16;

pub(super) fn doubled(first: SignedDuration, level: u32, max: SignedDuration) -> SignedDuration {
    first.checked_mul(1 << level.min(MAX_LEVEL)).unwrap_or(max).min(max)
}

/// As Go writes a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
pub(crate) fn go_duration(delay: SignedDuration) -> String {
    match (delay.as_secs() / 60, delay.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

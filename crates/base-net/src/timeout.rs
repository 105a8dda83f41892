//! Time bounds around a request: how long until it starts to be answered, and how long its bodies may take or stand still.
//!
//! The texts and status codes of a timeout are the caller's; here is only the measuring. Without a bound nothing is allocated or registered.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};

/// It took longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it took longer than {} ms", .0.as_millis())]
pub struct Elapsed(pub Duration);

/// The output of `future` (until a response starts, say), if it comes within `limit`.
///
/// # Errors
/// It did not.
pub async fn within<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, Elapsed> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| Elapsed(limit)),
    }
}

/// Bounds on a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyLimits {
    /// How long it may stand still.
    pub idle: Option<Duration>,
    /// When it has to be over.
    pub deadline: Option<Instant>,
}

/// `body`, which fails with [`BodyError::Idle`] or [`BodyError::Deadline`] when it exceeds `limits`. The time in which nobody reads it counts as
/// well: a reader that stands still is idle too.
pub fn limited(body: Body, limits: BodyLimits) -> Body {
    if (limits.idle.is_none() && limits.deadline.is_none()) || body.is_end_stream() {
        return body;
    }
    let now = Instant::now();
    let due = limits.next(now).unwrap_or(now);
    Body::boxed(Limited { body, limits, timer: tokio::time::sleep_until(due), is_failed: false })
}

impl BodyLimits {
    fn next(&self, now: Instant) -> Option<Instant> {
        let idle = self.idle.map(|idle| now + idle);
        match (idle, self.deadline) {
            (Some(idle), Some(deadline)) => Some(idle.min(deadline)),
            (idle, deadline) => idle.or(deadline),
        }
    }

    fn exceeded(&self, now: Instant) -> BodyError {
        match (self.deadline, self.idle) {
            (Some(deadline), _) if deadline <= now => BodyError::Deadline,
            (_, Some(idle)) => BodyError::Idle(idle),
            _ => BodyError::Deadline,
        }
    }
}

pin_project! {
    struct Limited {
        body: Body,
        limits: BodyLimits,
        #[pin]
        timer: Sleep,
        is_failed: bool,
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if *this.is_failed {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut *this.body).poll_frame(cx);
        if let Poll::Ready(frame) = frame {
            if let Some(due) = this.limits.next(Instant::now()) {
                this.timer.reset(due);
            }
            return Poll::Ready(frame);
        }
        if this.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.is_failed = true;
        // What it comes from is let go at once.
        *this.body = Body::empty();
        Poll::Ready(Some(Err(this.limits.exceeded(Instant::now()))))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_failed && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_start_is_bounded_only_if_asked() {
        assert_eq!(within(Some(SECOND), tokio::time::sleep(2 * SECOND)).await, Err(Elapsed(SECOND)));
        assert_eq!(within(None, tokio::time::sleep(2 * SECOND)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_not_stand_still() {
        let (sender, body) = Body::channel(1);
        let reading = limited(body, BodyLimits { idle: Some(2 * SECOND), deadline: None }).read(100);
        let writing = async {
            for _ in 0..5 {
                tokio::time::sleep(SECOND).await;
                sender.send("x").await.unwrap();
            }
            sender.unread().await;
        };
        let (read, ()) = tokio::join!(reading, writing);
        assert!(matches!(read, Err(BodyError::Idle(idle)) if idle == 2 * SECOND), "it moved for 5 s, then stood still");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_be_over_in_time() {
        let (sender, body) = Body::channel(1);
        let limits = BodyLimits { idle: Some(2 * SECOND), deadline: Some(Instant::now() + 3 * SECOND) };
        let writing = async {
            while sender.send("x").await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        };
        let (read, ()) = tokio::join!(limited(body, limits).read(100), writing);
        assert!(matches!(read, Err(BodyError::Deadline)));
        assert_eq!(limited(Body::from("whole"), limits).read(5).await.unwrap(), "whole");
    }
}

//! A Revision's time bounds around an answer, with Knative's texts.
//!
//! | bound | ends | effect |
//! |---|---|---|
//! | `total` | always, also a response that has begun | 504 and the text; a response that has begun ends with the text |
//! | `response_start` | while nothing has been answered | 504 and the text |
//! | `idle` | when nothing has been answered for that long | as `total` |
//!
//! A response whose length was announced cannot end with a text: it breaks. So does an upgraded connection, of which the answer is what comes
//! from the container once it is upgraded.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base_net::{Body, BodyError, Response};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{headers, hold};

/// A bound that is longer is as good as none, and so far ahead that clocks cannot say it.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// How long an answer may take. None is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request to the end of the response.
    pub total: Option<Duration>,
    /// From the request to the start of the response.
    pub response_start: Option<Duration>,
    /// Between two parts of the response.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The bounds in a Revision's numbers: seconds, 0 or less for none.
    pub fn of_seconds(total: i64, response_start: i64, idle: i64) -> Self {
        let seconds = |seconds: i64| {
            let bound = u64::try_from(seconds).ok().map(Duration::from_secs);
            bound.filter(|bound| !bound.is_zero() && *bound <= LONGEST)
        };
        Self { total: seconds(total), response_start: seconds(response_start), idle: seconds(idle) }
    }

    fn first_bound(&self) -> Option<Duration> {
        [self.total, self.response_start, self.idle].into_iter().flatten().min()
    }

    /// The response of `answering`, or 504 with `text`.
    pub(crate) async fn bound(self, text: &'static str, answering: impl Future<Output = Response>) -> Response {
        let Some(first) = self.first_bound() else { return answering.await };
        let begun = Instant::now();
        let Ok(response) = tokio::time::timeout_at(begun + first, answering).await else {
            return headers::text(StatusCode::GATEWAY_TIMEOUT, text);
        };
        let deadline = self.total.map(|total| begun + total);
        if let Some(hold) = hold::of(&response) {
            let start_by = self.response_start.map(|bound| begun + bound);
            hold.keep_within(hold::Bounds { end_by: deadline, start_by, idle: self.idle });
            return response;
        }
        response.map(|body| bounded(body, text, (deadline, self.idle)))
    }
}

fn bounded(body: Body, text: &'static str, (deadline, idle): (Option<Instant>, Option<Duration>)) -> Body {
    if body.is_end_stream() {
        return body;
    }
    match due(deadline, idle) {
        None => body,
        Some(due) => {
            let (is_announced, timer) = (body.size_hint().exact().is_some(), tokio::time::sleep_until(due));
            Body::wrap(Bounded { body, is_announced, text, deadline, idle, timer, is_over: false })
        }
    }
}

fn due(deadline: Option<Instant>, idle: Option<Duration>) -> Option<Instant> {
    [deadline, idle.map(|idle| Instant::now() + idle)].into_iter().flatten().min()
}

pin_project! {
    struct Bounded {
        body: Body,
        is_announced: bool,
        text: &'static str,
        deadline: Option<Instant>,
        idle: Option<Duration>,
        #[pin]
        timer: Sleep,
        is_over: bool,
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        // The body first: what is there already needs no timer.
        let frame = Pin::new(&mut *this.body).poll_frame(cx);
        let is_late = match &frame {
            // The last part may go out: it may be that of a bound inside this one, which was reached at the same moment.
            Poll::Ready(Some(Ok(_))) => {
                this.deadline.is_some_and(|deadline| deadline <= Instant::now()) && !this.body.is_end_stream()
            }
            Poll::Ready(_) => false,
            Poll::Pending => this.timer.as_mut().poll(cx).is_ready(),
        };
        if is_late {
            *this.is_over = true;
            // What it comes from is let go at once.
            *this.body = Body::empty();
            let text = || Frame::data(Bytes::from_static(this.text.as_bytes()));
            return Poll::Ready(Some(if *this.is_announced { Err(BodyError::Deadline) } else { Ok(text()) }));
        }
        if frame.is_ready()
            && this.idle.is_some()
            && let Some(due) = due(*this.deadline, *this.idle)
        {
            this.timer.reset(due);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    fn timeouts(total: i64, start: i64, idle: i64) -> Timeouts {
        Timeouts::of_seconds(total, start, idle)
    }

    async fn after(seconds: u64, response: Response) -> Response {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        response
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_begin_is_504() {
        for (bounds, answer_after, is_late) in [
            (timeouts(0, 0, 0), 1000, false),
            (timeouts(10, 0, 0), 9, false),
            (timeouts(10, 0, 0), 11, true),
            (timeouts(10, 3, 0), 4, true),
            (timeouts(10, 0, 2), 3, true),
            (timeouts(0, i64::MAX, i64::MAX), 3, false),
            (timeouts(i64::MAX, 2, i64::MAX), 3, true),
        ] {
            let answer = after(answer_after, Response::new(Body::from("done")));
            let response = bounds.bound("request timeout", answer).await;
            let (status, body) = (response.status(), response.into_body().read(LIMIT).await.unwrap());
            let expected = if is_late { (504, "request timeout") } else { (200, "done") };
            assert_eq!((status.as_u16(), &*body), (expected.0, expected.1.as_bytes()), "{bounds:?} {answer_after}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_begun_ends_with_the_text() {
        for bounds in [timeouts(5, 0, 0), timeouts(0, 0, 5), timeouts(9, 0, 5)] {
            let (sender, body) = Body::channel(1);
            sender.send("begun ").await.unwrap();
            let response = bounds.bound("request timeout", async { Response::new(body) }).await;
            assert_eq!(response.into_body().read(LIMIT).await.unwrap(), "begun request timeout");
            sender.unread().await;
        }
    }

    /// The activator's bound is around queue-proxy's, which is the same.
    #[tokio::test(start_paused = true)]
    async fn two_bounds_that_are_reached_at_once_are_one() {
        let bounds = timeouts(5, 0, 0);
        let inner = bounds.bound("inner", after(9, Response::new(Body::from("done"))));
        let response = bounds.bound("outer", inner).await;
        assert_eq!(response.status(), 504);
        assert_eq!(response.into_body().read(LIMIT).await.unwrap(), "inner");
        let (sender, body) = Body::channel(1);
        sender.send("begun ").await.unwrap();
        let inner = bounds.bound("inner", async { Response::new(body) });
        let response = bounds.bound("outer", inner).await;
        assert_eq!(response.into_body().read(LIMIT).await.unwrap(), "begun inner");
        sender.unread().await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_begins_anew_with_each_part() {
        let stream = futures::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            (n < 4).then(|| (Ok::<_, BodyError>(Bytes::from_static(b"x")), n + 1))
        });
        let response = timeouts(0, 0, 4).bound("t", async { Response::new(Body::stream(stream)) }).await;
        assert_eq!(response.into_body().read(LIMIT).await.unwrap(), "xxxx");
    }
}

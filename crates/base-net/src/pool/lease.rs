//! A connection while a response is read from it: it goes back to the pool with the last byte, and is closed if that is not read.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use super::slot::Slot;
use crate::body::{Body, Response};

/// A request in flight to a target, counted as long as it lives.
pub(super) struct InFlight(Arc<Slot>);

impl InFlight {
    pub(super) fn begin(slot: &Arc<Slot>) -> Self {
        slot.begin();
        Self(Arc::clone(slot))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A response's body that holds the connection that it comes from.
pub(crate) struct Leased {
    incoming: Incoming,
    held: Option<Held>,
}

struct Held {
    sender: SendRequest<Body>,
    in_flight: InFlight,
}

/// Has the response's body hold the connection. One that is over already gives it back at once.
pub(super) fn hold(response: http::Response<Incoming>, sender: SendRequest<Body>, in_flight: InFlight) -> Response {
    response.map(|incoming| Body::leased(Leased { incoming, held: Some(Held { sender, in_flight }) }.settled()))
}

impl Leased {
    fn settled(mut self) -> Self {
        if self.incoming.is_end_stream() {
            self.give_back();
        }
        self
    }

    fn give_back(&mut self) {
        if let Some(Held { sender, in_flight }) = self.held.take() {
            in_flight.0.put(sender);
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(std::pin::Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            None => self.give_back(),
            Some(Err(_)) => self.held = None,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        // A reader that knows the length stops at the last byte without asking for more.
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }
}

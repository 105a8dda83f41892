//! The one streaming body of this workspace: [`Body`], read and written without copying.
//!
//! A body is bytes in memory, what hyper receives, what a pooled connection receives, a channel that somebody fills, or any other
//! `http_body::Body`. The first four cost no allocation. Trailers pass through, and size hints are kept, so that a `Content-Length` stays one.
//!
//! Invariant: a body that ends early ends with an error. So a [`BodySender`] that is dropped without [`BodySender::finish`] breaks the body
//! instead of shortening it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::pool::Leased;
use crate::serve::Exchange;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection that carries it failed.
    #[error("the connection failed while a body was read")]
    Connection(#[source] hyper::Error),
    /// Whoever made it stopped before its end.
    #[error("the body's sender stopped before its end")]
    Aborted,
    /// It is larger than the reader allows.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// What the reader allows, in bytes.
        limit: usize,
    },
    /// No data came for too long.
    #[error("the body was idle for {} ms", .0.as_millis())]
    Idle(Duration),
    /// It took too long as a whole.
    #[error("the body was not complete in time")]
    Deadline,
    /// What it is made from failed.
    #[error("the body could not be made")]
    Source(#[source] BoxError),
}

type BoxBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// A streaming HTTP body.
#[derive(Default)]
pub struct Body {
    inner: Inner,
    /// Tells the server when an exchange is over.
    exchange: Option<Exchange>,
    /// Dropped with the body.
    attached: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Leased(Leased),
    Channel(Channel),
    Boxed(BoxBody),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match &self.inner {
            Inner::Empty => "empty",
            Inner::Full(_) => "full",
            Inner::Incoming(_) => "incoming",
            Inner::Leased(_) => "leased",
            Inner::Channel(_) => "channel",
            Inner::Boxed(_) => "boxed",
        };
        f.debug_struct("Body").field("sort", &sort).finish_non_exhaustive()
    }
}

impl Body {
    /// No data.
    pub const fn empty() -> Self {
        Self::of(Inner::Empty)
    }

    const fn of(inner: Inner) -> Self {
        Self { inner, exchange: None, attached: None }
    }

    /// A body that `sender` fills, at most `capacity` frames ahead of the reader.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (BodySender(sender), Self::of(Inner::Channel(Channel { receiver, is_finished: false })))
    }

    /// A body of the items of `stream`.
    pub fn stream<E: Into<BoxError>>(stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self {
        let frames = stream.map(|item| item.map(Frame::data).map_err(|error| BodyError::Source(error.into())));
        Self::of(Inner::Boxed(Box::pin(http_body_util::StreamBody::new(frames))))
    }

    /// Any other body.
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::of(Inner::Boxed(Box::pin(Wrapped(Box::pin(body)))))
    }

    pub(crate) fn boxed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self::of(Inner::Boxed(Box::pin(body)))
    }

    pub(crate) const fn leased(leased: Leased) -> Self {
        Self::of(Inner::Leased(leased))
    }

    pub(crate) fn set_exchange(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
    }

    /// Keeps `value` until the body has been read to its end or dropped: a permit, or a guard that counts.
    #[must_use]
    pub fn with_attached(mut self, value: impl Send + 'static) -> Self {
        self.attached = Some(match self.attached.take() {
            Some(before) => Box::new((value, before)),
            None => Box::new(value),
        });
        self
    }

    /// Reads all of it, if it has at most `limit` bytes. Trailers are dropped.
    ///
    /// # Errors
    /// It is larger, or fails.
    pub async fn read(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if first.len() + rest.len() + data.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(first.len() + rest.len());
        all.extend_from_slice(&first);
        all.unsplit(rest);
        Ok(all.freeze())
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::Connection),
            Inner::Leased(leased) => leased.poll_frame(cx).map_err(BodyError::Connection),
            Inner::Channel(channel) => channel.poll_frame(cx),
            Inner::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.poll_inner(cx));
        if frame.is_none() {
            self.attached = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Full(_) => false,
            Inner::Incoming(incoming) => incoming.is_end_stream(),
            Inner::Leased(leased) => leased.is_end_stream(),
            Inner::Channel(channel) => channel.is_finished,
            Inner::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Incoming(incoming) => incoming.size_hint(),
            Inner::Leased(leased) => leased.size_hint(),
            Inner::Channel(_) => SizeHint::default(),
            Inner::Boxed(body) => body.size_hint(),
        }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::of(Inner::Incoming(incoming))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self::of(Inner::Full(bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

/// Fills a body made by [`Body::channel`].
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<Part>);

#[derive(Debug)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(BodyError),
    End,
}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct Unread;

impl BodySender {
    /// Appends data; waits while the reader is behind.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn send(&self, data: impl Into<Bytes>) -> Result<(), Unread> {
        self.put(Part::Data(data.into())).await
    }

    /// Ends the body with trailers.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn finish_with(self, trailers: HeaderMap) -> Result<(), Unread> {
        self.put(Part::Trailers(trailers)).await
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn finish(self) -> Result<(), Unread> {
        self.put(Part::End).await
    }

    /// Breaks the body with an error of its reader.
    pub async fn fail(self, error: impl Into<BoxError>) {
        // A reader that is gone needs no error.
        let _ = self.put(Part::Failed(BodyError::Source(error.into()))).await;
    }

    /// Waits until nobody reads the body any more.
    pub async fn unread(&self) {
        self.0.closed().await;
    }

    async fn put(&self, part: Part) -> Result<(), Unread> {
        self.0.send(part).await.map_err(|_| Unread)
    }
}

struct Channel {
    receiver: mpsc::Receiver<Part>,
    is_finished: bool,
}

impl Channel {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_finished {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.receiver.poll_recv(cx)) {
            Some(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Part::Trailers(trailers)) => {
                self.is_finished = true;
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Part::End) => {
                self.is_finished = true;
                None
            }
            Some(Part::Failed(error)) => {
                self.is_finished = true;
                Some(Err(error))
            }
            None => {
                self.is_finished = true;
                Some(Err(BodyError::Aborted))
            }
        })
    }
}

/// Another body, with its errors in ours.
struct Wrapped<B>(Pin<Box<B>>);

impl<B> http_body::Body for Wrapped<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.as_mut().poll_frame(cx).map_err(|error| BodyError::Source(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// A request with this crate's body.
pub type Request = http::Request<Body>;
/// A response with this crate's body.
pub type Response = http::Response<Body>;

const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Body>();
    is_send::<Arc<BodySender>>();
};

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    #[tokio::test]
    async fn bodies_from_memory_know_their_size() {
        let body = Body::from("hello");
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.read(5).await.unwrap(), "hello");
        assert!(Body::from(Bytes::new()).is_end_stream());
        assert_eq!(Body::empty().read(0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_channel_passes_data_and_trailers() {
        let (sender, body) = Body::channel(4);
        sender.send("a").await.unwrap();
        sender.send("b").await.unwrap();
        let trailers =
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]);
        sender.finish_with(trailers).await.unwrap();
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "ab");
    }

    #[tokio::test]
    async fn a_sender_that_is_dropped_breaks_the_body() {
        let (sender, body) = Body::channel(4);
        sender.send("half").await.unwrap();
        drop(sender);
        assert!(matches!(body.read(100).await, Err(BodyError::Aborted)));
        let (sender, body) = Body::channel(4);
        drop(body);
        sender.unread().await;
        assert_eq!(sender.send("x").await, Err(Unread));
    }

    #[tokio::test]
    async fn a_limit_is_kept() {
        let parts = || Body::stream(futures::stream::iter(["abc", "def"].map(|s| Ok::<_, BodyError>(Bytes::from(s)))));
        assert_eq!(parts().read(6).await.unwrap(), "abcdef");
        assert!(matches!(parts().read(5).await, Err(BodyError::TooLarge { limit: 5 })));
    }

    #[tokio::test]
    async fn what_is_attached_goes_when_the_body_is_over() {
        let ended = Arc::new(AtomicU32::new(0));
        let count = || {
            let ended = Arc::clone(&ended);
            OnDrop(move || _ = ended.fetch_add(1, Ordering::Relaxed))
        };
        let mut body = Body::from("x").with_attached(count()).with_attached(count());
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().is_data());
            assert_eq!(ended.load(Ordering::Relaxed), 0);
        }
        assert_eq!(ended.load(Ordering::Relaxed), 2);
        drop(Body::from("x").with_attached(count()));
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }
}

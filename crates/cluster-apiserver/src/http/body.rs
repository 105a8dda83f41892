//! Bodies of answers: whole, in shared parts, or as a stream.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};

/// What may break a body under way.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub struct Body {
    inner: Inner,
    /// Lives until the body is sent or given up.
    _held: Option<Box<dyn Any + Send>>,
}

enum Inner {
    Parts(VecDeque<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Inner::Parts(VecDeque::new()).into()
    }

    /// A body in parts that are sent one after the other.
    pub fn parts(parts: impl IntoIterator<Item = Bytes>) -> Self {
        Inner::Parts(parts.into_iter().filter(|part| !part.is_empty()).collect()).into()
    }

    /// A body that comes as it is made; each item is sent at once.
    pub fn stream(stream: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static) -> Self {
        Inner::Stream(Box::pin(stream)).into()
    }

    /// Keeps something until the body is sent or given up.
    pub(crate) fn holding(self, held: impl Any + Send) -> Self {
        Self { inner: self.inner, _held: Some(Box::new((self._held, held))) }
    }

    /// All of it, if it is there already.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        match &self.inner {
            Inner::Stream(_) => None,
            Inner::Parts(parts) if parts.len() == 1 => parts.front().cloned(),
            Inner::Parts(parts) => Some(parts.iter().map(Bytes::as_ref).collect::<Vec<_>>().concat().into()),
        }
    }
}

impl From<Inner> for Body {
    fn from(inner: Inner) -> Self {
        Self { inner, _held: None }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::parts([bytes])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::parts([Bytes::from(bytes)])
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::parts([Bytes::from(text)])
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::parts([Bytes::from_static(text.as_bytes())])
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.inner {
            Inner::Parts(parts) => Poll::Ready(parts.pop_front().map(|part| Ok(Frame::data(part)))),
            Inner::Stream(stream) => stream.as_mut().poll_next(cx).map(|item| item.map(|part| part.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.inner, Inner::Parts(parts) if parts.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Parts(parts) => SizeHint::with_exact(parts.iter().map(|part| part.len() as u64).sum()),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.inner {
            Inner::Parts(_) => "Body(whole)",
            Inner::Stream(_) => "Body(stream)",
        })
    }
}

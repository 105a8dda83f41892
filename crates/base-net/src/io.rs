//! A connection of any sort as one type: TCP, Unix or TLS over TCP, with bytes that were read ahead to recognise the protocol.
//!
//! One type instead of a parameter keeps hyper's state machines compiled once per service.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    /// Read already, to be read first.
    ahead: Bytes,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    ServerTls(Box<tokio_rustls::server::TlsStream<Io>>),
    ClientTls(Box<tokio_rustls::client::TlsStream<Io>>),
    Memory(DuplexStream),
}

macro_rules! delegate {
    ($self:expr, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::ServerTls($stream) => $call,
            Stream::ClientTls($stream) => $call,
            Stream::Memory($stream) => $call,
        }
    };
}

impl Io {
    const fn of(stream: Stream) -> Self {
        Self { stream, ahead: Bytes::new() }
    }

    /// The same connection, which reads `ahead` first.
    pub(crate) fn with_ahead(mut self, ahead: Bytes) -> Self {
        self.ahead = ahead;
        self
    }

    /// The other end's address, of a TCP connection without TLS.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            _ => None,
        }
    }

    /// This end's address, of a TCP connection without TLS.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            _ => None,
        }
    }
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self::of(Stream::Tcp(stream))
    }
}

impl From<UnixStream> for Io {
    fn from(stream: UnixStream) -> Self {
        Self::of(Stream::Unix(stream))
    }
}

impl From<tokio_rustls::server::TlsStream<Io>> for Io {
    fn from(stream: tokio_rustls::server::TlsStream<Io>) -> Self {
        Self::of(Stream::ServerTls(Box::new(stream)))
    }
}

impl From<tokio_rustls::client::TlsStream<Io>> for Io {
    fn from(stream: tokio_rustls::client::TlsStream<Io>) -> Self {
        Self::of(Stream::ClientTls(Box::new(stream)))
    }
}

impl From<DuplexStream> for Io {
    fn from(stream: DuplexStream) -> Self {
        Self::of(Stream::Memory(stream))
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let taken = self.ahead.len().min(buf.remaining());
            buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
            self.ahead.advance(taken);
            return Poll::Ready(Ok(()));
        }
        delegate!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::ServerTls(stream) => stream.is_write_vectored(),
            Stream::ClientTls(stream) => stream.is_write_vectored(),
            Stream::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

//! One connection, from its first byte to its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use base_rt::Tasks;
use bytes::{Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Order};
use super::service::Adapter;
use super::{HttpService, Peer, ServerConfig, TlsPeer, Transport};
use crate::io::Io;
use crate::tasks::StreamTasks;

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes read ahead at most to recognise the protocol: enough for most first requests.
const READ_AHEAD: usize = 2048;

/// What a connection's first bytes say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Tls,
    Http1,
    Http2,
}

/// Serves one connection until its end. False if it ended with an error.
pub(super) async fn serve<S: HttpService>(
    io: Io,
    config: &ServerConfig,
    tasks: &Tasks,
    activity: &Arc<Activity>,
    new_service: &(dyn Fn(&Arc<Peer>) -> S + Send + Sync),
) -> bool {
    let peer = Peer { remote: io.remote_addr(), local: io.local_addr(), tls: None };
    let opened = tokio::time::timeout(config.header_timeout, open(io, &config.transport, peer));
    let (io, peer, spoken) = match obeying(activity, opened).await {
        Some(Ok(Ok(Some(opened)))) => opened,
        // It was closed before it said anything.
        None | Some(Ok(Ok(None))) => return true,
        Some(Ok(Err(error))) => return failed(config, &error),
        Some(Err(elapsed)) => return failed(config, &elapsed),
    };
    let service = Adapter::new(new_service(&Arc::new(peer)), Arc::clone(activity));
    let served = match spoken {
        Spoken::Http2 => {
            let mut builder = http2::Builder::new(StreamTasks::new(config.name, tasks));
            builder.timer(TokioTimer::new());
            builder.max_concurrent_streams(config.max_streams).max_header_list_size(config.max_header_bytes);
            let connection = pin!(builder.serve_connection(TokioIo::new(io), service));
            drive(connection, activity, |connection| connection.graceful_shutdown()).await
        }
        Spoken::Http1 | Spoken::Tls => {
            let mut builder = http1::Builder::new();
            builder.header_read_timeout(None).max_header_size(config.max_header_bytes as usize);
            let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
            drive(pin!(connection), activity, |connection| connection.graceful_shutdown()).await
        }
    };
    match served {
        Ok(()) => true,
        Err(error) => failed(config, &error),
    }
}

/// A client that goes away, or speaks no HTTP, is no event for an operator.
fn failed(config: &ServerConfig, error: &(dyn std::error::Error + 'static)) -> bool {
    tracing::debug!(server = config.name, error = base_rt::error_chain(error), "connection failed");
    false
}

/// Polls hyper's connection, and passes the server's orders on to it. Nothing but the connection is polled per request.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    activity: &Activity,
    drain: impl Fn(Pin<&mut C>),
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut obeyed = Order::Serve;
    let mut is_registered = false;
    poll_fn(|cx| {
        loop {
            // Before any order: hyper closes a connection that is to drain and has not read yet, although a request may wait in it.
            if let Poll::Ready(done) = connection.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            // A task keeps its waker, and an order uses it up: so it is registered at first and after each order.
            if !std::mem::replace(&mut is_registered, true) {
                activity.set_waker(cx.waker());
            }
            let order = activity.order();
            if order == obeyed {
                return Poll::Pending;
            }
            (obeyed, is_registered) = (order, false);
            match order {
                Order::Serve => {}
                Order::Drain => drain(connection.as_mut()),
                Order::Close => return Poll::Ready(Ok(())),
            }
        }
    })
    .await
}

/// Runs `work` unless the connection is told to close; then it yields none. One that is to drain may still say what it came for: it is
/// closed soon if it does not.
async fn obeying<T>(activity: &Activity, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        activity.set_waker(cx.waker());
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if activity.order() == Order::Close { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Finds out what is spoken, with the TLS handshake where there is one. None if the connection was closed first.
async fn open(io: Io, transport: &Transport, mut peer: Peer) -> std::io::Result<Option<(Io, Peer, Spoken)>> {
    let mut io = io;
    let tls = match transport {
        Transport::Plain => None,
        Transport::Tls(tls) => Some(tls),
        Transport::Either(tls) => {
            let Some((again, spoken)) = recognise(io).await? else { return Ok(None) };
            io = again;
            if spoken != Spoken::Tls {
                return Ok(Some((io, peer, spoken)));
            }
            Some(tls)
        }
    };
    if let Some(tls) = tls {
        let stream = TlsAcceptor::from(Arc::clone(tls)).accept(io).await?;
        let (_, session) = stream.get_ref();
        peer.tls = Some(TlsPeer {
            version: session.protocol_version().map_or(0, u16::from),
            cipher_suite: session.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite())),
            protocol: session
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .unwrap_or_default(),
            server_name: session.server_name().map(str::to_owned),
            certificates: session
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|c| c.clone().into_owned())
                .collect(),
        });
        io = stream.into();
    }
    let recognised = recognise(io).await?;
    Ok(recognised.map(|(io, spoken)| (io, peer, spoken)))
}

/// Reads until it is clear what is spoken, and puts back what was read. None if the connection was closed first.
async fn recognise(mut io: Io) -> std::io::Result<Option<(Io, Spoken)>> {
    let mut ahead = BytesMut::with_capacity(READ_AHEAD);
    loop {
        if io.read_buf(&mut ahead).await? == 0 {
            return Ok(None);
        }
        if let Some(spoken) = spoken(&ahead) {
            return Ok(Some((io.with_ahead(Bytes::from(ahead)), spoken)));
        }
    }
}

/// What these first bytes say, if they say enough.
fn spoken(ahead: &[u8]) -> Option<Spoken> {
    let compared = ahead.len().min(H2_PREFACE.len());
    if ahead.first() == Some(&TLS_HANDSHAKE) {
        Some(Spoken::Tls)
    } else if ahead.get(..compared) != H2_PREFACE.get(..compared) {
        Some(Spoken::Http1)
    } else {
        (compared == H2_PREFACE.len()).then_some(Spoken::Http2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        let rows: [(&[u8], Option<Spoken>); 6] = [
            (b"GET / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"P", None),
            (b"POST / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Spoken::Http2)),
            (&[0x16, 3, 1], Some(Spoken::Tls)),
        ];
        for (bytes, expected) in rows {
            assert_eq!(spoken(bytes), expected, "{bytes:?}");
        }
    }
}

//! Sockets that somebody else made, in another network namespace, for this process to connect.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use futures::future::BoxFuture;
use socket2::Socket;
use tokio::net::{TcpSocket, TcpStream};

use super::{DialError, Target};

/// Hands out unconnected TCP sockets. It keeps some ready, so that taking one costs no round trip.
pub trait SocketSupply: Send + Sync {
    /// An unconnected stream socket of the family of `addr`.
    fn take(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>>;
}

/// Connects a supplied socket to `addr`, without blocking.
pub(super) async fn connect(
    supply: &dyn SocketSupply,
    addr: SocketAddr,
    target: &Target,
) -> Result<TcpStream, DialError> {
    let supplied = supply.take(addr).await.and_then(prepare);
    let socket = supplied.map_err(|source| DialError::Supply { target: target.clone(), source })?;
    socket.connect(addr).await.map_err(|source| DialError::Connect { target: target.clone(), source })
}

fn prepare(fd: OwnedFd) -> io::Result<TcpSocket> {
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use futures::FutureExt;
    use socket2::{Domain, Type};

    use super::*;
    use crate::connect::Connector;

    struct Here;

    impl SocketSupply for Here {
        fn take(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>> {
            async move { Socket::new(Domain::for_address(addr), Type::STREAM, None).map(OwnedFd::from) }.boxed()
        }
    }

    struct Exhausted;

    impl SocketSupply for Exhausted {
        fn take(&self, _addr: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>> {
            async { Err(io::Error::other("the pod is gone")) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_supplied_socket_is_connected() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = Target::http1(listener.local_addr().unwrap());
        let dialled = Connector::new().with_supply(Arc::new(Here)).dial(&target).await.unwrap();
        let (_accepted, from) = listener.accept().await.unwrap();
        assert_eq!(dialled.local_addr(), Some(from));
        let error = Connector::new().with_supply(Arc::new(Exhausted)).dial(&target).await.unwrap_err();
        assert!(matches!(error, DialError::Supply { .. }));
    }
}

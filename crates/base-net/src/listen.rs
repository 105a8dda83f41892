//! Listening sockets: made here, or handed in by somebody who may make them where this process may not (another network namespace, a
//! privileged port). What arrives is an [`Io`] with Nagle's algorithm off.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::io::Io;

/// Connections that wait to be accepted at most.
const BACKLOG: i32 = 4096;

/// Why a socket does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had: taken, not here, or not allowed.
    #[error("could not listen on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The path cannot be had.
    #[error("could not listen on {}", path.display())]
    BindUnix {
        /// The path asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A descriptor that was handed in is no listening socket that this process can use.
    #[error("could not use the socket that was handed in")]
    Adopt(#[source] io::Error),
}

/// A listening socket that belongs to no runtime yet.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn tcp(addr: SocketAddr) -> Result<Self, ListenError> {
        bind(addr, false).map(Self::Tcp).map_err(|source| ListenError::Bind { addr, source })
    }

    /// `count` sockets on one address, among which the kernel spreads connections (`SO_REUSEPORT`): one for each worker. With port 0, all
    /// get the port that the first one is given.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn tcp_set(addr: SocketAddr, count: usize) -> Result<Vec<Self>, ListenError> {
        let failed = |source| ListenError::Bind { addr, source };
        let first = bind(addr, true).map_err(failed)?;
        let addr = first.local_addr().map_err(failed)?;
        let mut all = vec![Self::Tcp(first)];
        for _ in 1..count {
            all.push(Self::Tcp(bind(addr, true).map_err(failed)?));
        }
        Ok(all)
    }

    /// Listens on a Unix socket. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// The path cannot be had, or somebody listens there.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::BindUnix { path: path.to_owned(), source };
        let bound = match std::os::unix::net::UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                std::fs::remove_file(path).map_err(failed)?;
                std::os::unix::net::UnixListener::bind(path)
            }
            answer => answer,
        };
        bound.map(Self::Unix).map_err(failed)
    }

    /// A listening socket that somebody else made.
    ///
    /// # Errors
    /// It is neither a TCP nor a Unix stream socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, ListenError> {
        let socket = Socket::from(fd);
        match socket.domain().map_err(ListenError::Adopt)? {
            Domain::IPV4 | Domain::IPV6 => Ok(Self::Tcp(socket.into())),
            Domain::UNIX => Ok(Self::Unix(socket.into())),
            other => Err(ListenError::Adopt(io::Error::other(format!("it is of domain {other:?}")))),
        }
    }

    /// `count` handles of this one socket, for workers that share it.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn shared(self, count: usize) -> Result<Vec<Self>, ListenError> {
        let mut all = Vec::with_capacity(count);
        for _ in 1..count {
            let twin = match &self {
                Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
                Self::Unix(listener) => listener.try_clone().map(Self::Unix),
            };
            all.push(twin.map_err(ListenError::Adopt)?);
        }
        all.push(self);
        Ok(all)
    }

    /// The address, of a TCP socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Hands the socket to the current runtime.
    pub(crate) fn accept_here(self) -> Result<Acceptor, ListenError> {
        let acceptor = match self {
            Self::Tcp(listener) => listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener))
                .map(Acceptor::Tcp),
            Self::Unix(listener) => listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::UnixListener::from_std(listener))
                .map(Acceptor::Unix),
        };
        acceptor.map_err(ListenError::Adopt)
    }
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self::Unix(listener)
    }
}

fn bind(addr: SocketAddr, is_shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that ended wait in TIME_WAIT; they must not keep its successor from listening.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_abandoned(path: &Path) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(path);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A listening socket of a runtime.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// The next connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<Io> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A connection that has ended meanwhile cannot be set; reading from it will tell.
                let _ = stream.set_nodelay(true);
                Ok(stream.into())
            }
            Self::Unix(listener) => Ok(listener.accept().await?.0.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn a_set_shares_one_address_and_a_taken_one_is_named() {
        let set = Listener::tcp_set(loopback(), 3).unwrap();
        let addrs: Vec<_> = set.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addrs.iter().all(|addr| *addr == addrs[0]) && addrs.len() == 3);
        let error = Listener::tcp(addrs[0]).unwrap_err();
        assert_eq!(error.to_string(), format!("could not listen on {}", addrs[0]));
    }

    #[test]
    fn descriptors_are_recognised() {
        let fd = OwnedFd::from(std::net::TcpListener::bind(loopback()).unwrap());
        assert!(matches!(Listener::from_fd(fd), Ok(Listener::Tcp(_))));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(Listener::from_fd(unix.into()), Ok(Listener::Unix(_))));
    }

    #[test]
    fn only_an_abandoned_unix_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = Listener::unix(&path).unwrap();
        assert!(Listener::unix(&path).is_err(), "somebody listens there");
        drop(first);
        assert!(Listener::unix(&path).is_ok());
    }
}

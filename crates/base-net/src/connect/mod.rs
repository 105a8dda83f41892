//! Connections to others: the process-local table first, then a socket.
//!
//! Whether the next hop is a function call or a socket is known here alone. [`LocalTable`] says what this process answers itself (under
//! 1 µs); [`Connector`] dials the rest: TCP or Unix from this process's network namespace, or on sockets made elsewhere that a
//! [`SocketSupply`] hands out; with TLS where the target asks for it.

mod local;
mod supply;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::io::Io;
use crate::tls::ClientTls;
pub use local::{LocalEntry, LocalHandler, LocalTable};
pub use supply::SocketSupply;

/// Where a target's bytes go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(Arc<Path>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What is spoken to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2, by prior knowledge without TLS, by ALPN with it.
    Http2,
}

/// Somebody to send requests to: an address, what is spoken there, and under which name if it is TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// What is spoken.
    pub protocol: Protocol,
    /// The name in its certificate; none without TLS.
    pub tls: Option<ServerName<'static>>,
}

impl Target {
    /// HTTP/1.1 at an IP address.
    pub const fn http1(addr: SocketAddr) -> Self {
        Self { address: Address::Tcp(addr), protocol: Protocol::Http1, tls: None }
    }

    /// HTTP/2 without TLS at an IP address.
    pub const fn http2(addr: SocketAddr) -> Self {
        Self { address: Address::Tcp(addr), protocol: Protocol::Http2, tls: None }
    }

    /// HTTP/1.1 at a Unix socket.
    pub fn unix(path: &Path) -> Self {
        Self { address: Address::Unix(path.into()), protocol: Protocol::Http1, tls: None }
    }

    /// The same with TLS, to a certificate for `name`.
    #[must_use]
    pub fn with_tls(mut self, name: ServerName<'static>) -> Self {
        self.tls = Some(name);
        self
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answered, or the answer was no.
    #[error("could not connect to {target}")]
    Connect {
        /// Whom to.
        target: Target,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer from {target} within {} ms", after.as_millis())]
    Timeout {
        /// Whom from.
        target: Target,
        /// How long was waited.
        after: Duration,
    },
    /// There was no socket to connect with.
    #[error("no socket to connect to {target} with")]
    Supply {
        /// Whom to.
        target: Target,
        /// Why there is none.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("could not agree on TLS with {target}")]
    Tls {
        /// With whom.
        target: Target,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl DialError {
    /// Whether somebody is there and listens on no such port (now).
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// How persistently to dial.
#[derive(Clone, Copy, Debug)]
pub struct DialPolicy {
    /// How long one attempt may take, with its TLS handshake.
    pub timeout: Duration,
    /// How often to try in all.
    pub attempts: u32,
    /// How long to wait before the second attempt; each further wait is twice as long.
    pub backoff: Duration,
    /// Which errors are worth another attempt.
    pub is_worth_retrying: fn(&DialError) -> bool,
}

impl Default for DialPolicy {
    /// One attempt of at most 5 s.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            attempts: 1,
            backoff: Duration::from_millis(50),
            is_worth_retrying: DialError::is_refused,
        }
    }
}

/// Makes connections. Cheap to clone.
#[derive(Clone, Default)]
pub struct Connector {
    supply: Option<Arc<dyn SocketSupply>>,
    tls: ClientTls,
    policy: DialPolicy,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("is_supplied", &self.supply.is_some())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Dials from this process's network namespace, one attempt each, without TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// TCP connections are made on sockets from `supply`.
    #[must_use]
    pub fn with_supply(mut self, supply: Arc<dyn SocketSupply>) -> Self {
        self.supply = Some(supply);
        self
    }

    /// How TLS is spoken to targets that ask for it. Without it they cannot be dialled.
    #[must_use]
    pub fn with_tls(mut self, config: impl Into<ClientTls>) -> Self {
        self.tls = config.into();
        self
    }

    /// How persistently to dial.
    #[must_use]
    pub const fn with_policy(mut self, policy: DialPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// A connection to `target`, after as many attempts as the policy allows.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn dial(&self, target: &Target) -> Result<Io, DialError> {
        let mut backoff = self.policy.backoff;
        for _ in 1..self.policy.attempts {
            match self.attempt(target).await {
                Err(error) if (self.policy.is_worth_retrying)(&error) => {
                    tokio::time::sleep(backoff).await;
                    backoff = backoff.saturating_mul(2);
                }
                answer => return answer,
            }
        }
        self.attempt(target).await
    }

    async fn attempt(&self, target: &Target) -> Result<Io, DialError> {
        let after = self.policy.timeout;
        match tokio::time::timeout(after, self.open(target)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(DialError::Timeout { target: target.clone(), after }),
        }
    }

    async fn open(&self, target: &Target) -> Result<Io, DialError> {
        let failed = |source| DialError::Connect { target: target.clone(), source };
        let io: Io = match (&target.address, &self.supply) {
            (Address::Tcp(addr), None) => {
                let stream = TcpStream::connect(addr).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                stream.into()
            }
            (Address::Tcp(addr), Some(supply)) => supply::connect(&**supply, *addr, target).await?.into(),
            (Address::Unix(path), _) => UnixStream::connect(path).await.map_err(failed)?.into(),
        };
        match &target.tls {
            None => Ok(io),
            Some(name) => self.handshake(io, name.clone(), target).await,
        }
    }

    async fn handshake(&self, io: Io, name: ServerName<'static>, target: &Target) -> Result<Io, DialError> {
        let failed = |source| DialError::Tls { target: target.clone(), source };
        let Some(config) = self.tls.get() else {
            return Err(failed(io::Error::other("this connector has no TLS configuration")));
        };
        let connector = TlsConnector::from(config);
        let alpn = match target.protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        };
        let stream = connector.with_alpn(vec![alpn]).connect(name, io).await.map_err(failed)?;
        Ok(stream.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn free_addr() -> SocketAddr {
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_refused_connection_is_tried_again_as_the_policy_says() {
        let target = Target::http1(free_addr());
        let policy = DialPolicy { attempts: 3, backoff: Duration::from_millis(1), ..DialPolicy::default() };
        let error = Connector::new().with_policy(policy).dial(&target).await.unwrap_err();
        assert!(error.is_refused(), "{error}");
        assert_eq!(error.to_string(), format!("could not connect to {target}"));
    }

    #[tokio::test]
    async fn tls_needs_a_configuration() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target::http1(listener.local_addr().unwrap()).with_tls("localhost".try_into().unwrap());
        assert!(matches!(Connector::new().dial(&target).await, Err(DialError::Tls { .. })));
    }
}

//! Who makes the sockets at service addresses: a seam, and its adapter over the sandbox's spawner.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use cluster_sandbox::spec::{ListenSpec, ListenerName, Place, Protocol};
use cluster_sandbox::{RefusalCode, Sandbox, SandboxError};
use futures::future::BoxFuture;

/// One port of one service address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// The transport.
    pub protocol: Protocol,
    /// ClusterIP and port.
    pub address: SocketAddr,
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, word(self.protocol))
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("{action} {front}")]
pub struct ServiceSocketError {
    /// What was tried, such as `listening at`.
    pub action: &'static str,
    /// Where.
    pub front: String,
    /// Why it did not work.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ServiceSocketError {
    /// `action` (such as `listening at`) failed for `front`.
    pub fn new(
        action: &'static str,
        front: impl fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { action, front: front.to_string(), source: source.into() }
    }
}

/// Makes sockets at service addresses and keeps them while this process is away. All are non-blocking.
pub trait ServiceSockets: Send + Sync + fmt::Debug {
    /// A listening TCP socket; the one that there is, if it was made before.
    fn listen_tcp(&self, address: SocketAddr) -> BoxFuture<'_, Result<TcpListener, ServiceSocketError>>;

    /// A bound UDP socket; the one that there is, if it was made before.
    fn listen_udp(&self, address: SocketAddr) -> BoxFuture<'_, Result<UdpSocket, ServiceSocketError>>;

    /// Keeps a socket no longer. The address is free once the caller has closed its own too.
    fn close(&self, front: Front) -> BoxFuture<'_, Result<(), ServiceSocketError>>;

    /// What is kept, also from an earlier process.
    fn kept(&self) -> BoxFuture<'_, Result<Vec<Front>, ServiceSocketError>>;
}

/// Sockets of the instance's network, made by the sandbox's spawner.
#[derive(Clone, Debug)]
pub struct SandboxSockets {
    sandbox: Sandbox,
    purpose: &'static str,
}

impl SandboxSockets {
    /// `purpose` (letters) begins the names of the sockets: those of other purposes are neither seen nor touched.
    pub fn new(sandbox: Sandbox, purpose: &'static str) -> Self {
        Self { sandbox, purpose }
    }

    async fn listen(&self, front: Front) -> Result<OwnedFd, ServiceSocketError> {
        let failed = |error: SandboxError| ServiceSocketError::new("listening at", front, error);
        let spec = ListenSpec {
            name: self.name(front)?,
            place: Place::Instance,
            address: front.address,
            protocol: front.protocol,
            sockets: 1,
        };
        let listening = self.sandbox.listen(&spec).await.map_err(failed)?;
        listening.sockets.into_iter().next().ok_or_else(|| failed(SandboxError::Unexpected))
    }

    fn name(&self, front: Front) -> Result<ListenerName, ServiceSocketError> {
        let ip = front.address.ip().to_string().replace(':', "_");
        let name = format!("{}-{}-{ip}-{}", self.purpose, word(front.protocol), front.address.port());
        ListenerName::try_new(name).map_err(|error| ServiceSocketError::new("naming", front, error))
    }
}

impl ServiceSockets for SandboxSockets {
    fn listen_tcp(&self, address: SocketAddr) -> BoxFuture<'_, Result<TcpListener, ServiceSocketError>> {
        Box::pin(async move { Ok(self.listen(Front { protocol: Protocol::Tcp, address }).await?.into()) })
    }

    fn listen_udp(&self, address: SocketAddr) -> BoxFuture<'_, Result<UdpSocket, ServiceSocketError>> {
        Box::pin(async move { Ok(self.listen(Front { protocol: Protocol::Udp, address }).await?.into()) })
    }

    fn close(&self, front: Front) -> BoxFuture<'_, Result<(), ServiceSocketError>> {
        Box::pin(async move {
            match self.sandbox.unlisten(&self.name(front)?).await {
                Err(error) if error.refusal() == Some(RefusalCode::NotFound) => Ok(()),
                done => done.map_err(|error| ServiceSocketError::new("closing", front, error)),
            }
        })
    }

    fn kept(&self) -> BoxFuture<'_, Result<Vec<Front>, ServiceSocketError>> {
        Box::pin(async move {
            let failed = |error| ServiceSocketError::new("listing", self.purpose, error);
            let all = self.sandbox.listeners().await.map_err(failed)?;
            let prefix = format!("{}-", self.purpose);
            let own =
                all.into_iter().filter(|spec| spec.place == Place::Instance && spec.name.as_str().starts_with(&prefix));
            Ok(own.map(|spec| Front { protocol: spec.protocol, address: spec.address }).collect())
        })
    }
}

/// The addresses of a text list that are of one; others are left out.
pub(super) fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok())
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

//! The ports of a Pod, as they are reached from within it: also those that listen for the Pod alone.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream};
use std::time::Duration;

use base_net::connect::SocketSupply;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::{TcpSocket, TcpStream};

use super::network::PodSockets;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The ports of a Pod.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) sockets: PodSockets,
    /// Where they listen, seen from within: the loopback.
    pub(crate) ip: IpAddr,
}

impl Ports {
    /// Connects to one of them.
    pub(crate) async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let address = SocketAddr::new(self.ip, port);
        let socket = TcpSocket::from_std_stream(StdTcpStream::from(self.sockets.take(address).await?));
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(address));
        let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // What comes is passed on as it comes.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The ports of one Pod, for who forwards connections to them.
pub struct PodPorts {
    pub(super) ports: Ports,
    /// The Pod's name and uid.
    pub(super) pod: [String; 2],
}

impl PodPorts {
    /// Connects to a port. The error is a text in the kubelet's manner.
    pub fn dial(&self, port: u16) -> BoxFuture<'static, Result<TcpStream, String>> {
        let (ports, [name, uid]) = (self.ports.clone(), self.pod.clone());
        async move {
            let failed = |error| {
                format!(
                    "error forwarding port {port} to pod {name}, uid {uid}: failed to connect to localhost:{port} inside its network: {error}"
                )
            };
            ports.dial(port).await.map_err(failed)
        }
        .boxed()
    }
}

impl std::fmt::Debug for PodPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodPorts").field("pod", &self.pod).finish_non_exhaustive()
    }
}

//! The sockets of the DNS: datagrams and connections in, answers out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base_rt::backoff::Backoff;
use base_rt::{Phase, Tasks, error_chain};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::exchange::{Exchange, Step};
use super::forward::{Transport, receive, send};
use super::zone::Directory;
use crate::service_ip::{ServiceSocketError, ServiceSockets};

/// Questions that wait for other servers.
const FORWARDED_MAX: usize = 512;
/// TCP connections.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may be silent, and how long it may take to read an answer.
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
/// After a receive or an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest datagram.
const DATAGRAM_MAX_BYTES: usize = 65_535;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// Opens the sockets, trying until it works, and serves them; `opened` runs once they are open.
pub(super) fn start<D: Directory + Send + Sync + 'static>(
    tasks: &Tasks,
    address: SocketAddr,
    sockets: Arc<dyn ServiceSockets>,
    exchange: Arc<Exchange<D>>,
    opened: impl Future<Output = ()> + Send + 'static,
) {
    let (shutdown, transient) = (tasks.shutdown().clone(), tasks.clone());
    tasks.spawn("dns", async move {
        let serving = async {
            let (udp, tcp) = open(address, &*sockets).await;
            let datagrams = serve_udp(udp, &exchange, &transient);
            tokio::join!(datagrams, serve_tcp(tcp, &exchange, &transient), opened);
        };
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = serving => {}
        }
        Ok(())
    });
}

async fn open(address: SocketAddr, sockets: &dyn ServiceSockets) -> (UdpSocket, TcpListener) {
    let mut retries = Backoff::new(FIRST_RETRY, MAX_RETRY);
    loop {
        match try_open(address, sockets).await {
            Ok(opened) => return opened,
            Err(error) => tracing::warn!(error = error_chain(&error), "the cluster's DNS cannot listen"),
        }
        sleep(retries.next_delay()).await;
    }
}

async fn try_open(
    address: SocketAddr,
    sockets: &dyn ServiceSockets,
) -> Result<(UdpSocket, TcpListener), ServiceSocketError> {
    let failed = |error| ServiceSocketError::new("using the socket of", address, error);
    let udp = UdpSocket::from_std(sockets.listen_udp(address).await?).map_err(failed)?;
    let tcp = TcpListener::from_std(sockets.listen_tcp(address).await?).map_err(failed)?;
    Ok((udp, tcp))
}

/// Answers datagrams for ever.
pub(super) async fn serve_udp<D: Directory + Send + Sync + 'static>(
    socket: UdpSocket,
    exchange: &Arc<Exchange<D>>,
    tasks: &Tasks,
) {
    let socket = Arc::new(socket);
    let room = Arc::new(Semaphore::new(FORWARDED_MAX));
    let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "could not receive at the DNS address");
                sleep(PAUSE).await;
                continue;
            }
        };
        // An answer that cannot be sent is lost, as any datagram may be: the client asks again.
        match exchange.begin(buffer.get(..length).unwrap_or_default(), Transport::Udp) {
            Step::Ignore => {}
            Step::Reply(reply) => drop(socket.send_to(&reply, client).await),
            Step::Ask(pending) => match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => {
                    let (socket, exchange) = (Arc::clone(&socket), Arc::clone(exchange));
                    tasks.spawn_transient("dns/forward", async move {
                        let reply = exchange.finish(*pending).await;
                        drop(socket.send_to(&reply, client).await);
                        drop(place);
                    });
                }
                Err(_) => drop(socket.send_to(&exchange.refuse(&pending), client).await),
            },
        }
    }
}

/// Answers connections for ever.
pub(super) async fn serve_tcp<D: Directory + Send + Sync + 'static>(
    listener: TcpListener,
    exchange: &Arc<Exchange<D>>,
    tasks: &Tasks,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "could not accept at the DNS address");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            exchange.metrics.full.inc();
            continue;
        };
        let (exchange, shutdown) = (Arc::clone(exchange), tasks.shutdown().clone());
        tasks.spawn_transient("dns/connection", async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                // How a connection ends is the client's business.
                _ = converse(stream, &exchange) => {}
            }
            drop(place);
        });
    }
}

/// Answers the questions of one connection, one after another.
async fn converse<D: Directory>(mut stream: TcpStream, exchange: &Exchange<D>) -> io::Result<()> {
    loop {
        let bytes = timeout(CONNECTION_IDLE, receive(&mut stream)).await??;
        let reply = match exchange.begin(&bytes, Transport::Tcp) {
            Step::Ignore => return Ok(()),
            Step::Reply(reply) => reply,
            Step::Ask(pending) => exchange.finish(*pending).await,
        };
        timeout(CONNECTION_IDLE, send(&mut stream, &reply)).await??;
    }
}

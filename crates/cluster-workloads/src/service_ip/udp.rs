//! UDP fronts: each client has a session, a socket of its own towards one endpoint, until both have been silent for a while.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base_rt::Phase;
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::keeper::Shared;
use super::picker::Picker;

/// Sessions of one front.
const SESSIONS_PER_FRONT_MAX: usize = 1024;
/// Datagrams that a session may be behind; beyond it they are lost, as datagrams may be.
const WAITING_MAX: usize = 64;
/// The largest datagram.
const DATAGRAM_MAX_BYTES: usize = 65_535;
/// How long a session lasts in silence.
const SESSION_IDLE: Duration = Duration::from_secs(60);
/// After a receive that failed.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

struct Session {
    endpoint: SocketAddr,
    datagrams: mpsc::Sender<Bytes>,
}

/// Receives for ever.
pub(super) async fn serve(socket: UdpSocket, picker: Arc<Picker>, shared: Arc<Shared>) {
    let front = Arc::new(socket);
    let mut sessions: BTreeMap<SocketAddr, Session> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        let (length, client) = match front.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "could not receive at a service address");
                sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        let datagram = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        let is_usable = |session: &Session| !session.datagrams.is_closed() && picker.has(session.endpoint);
        if !sessions.get(&client).is_some_and(is_usable) {
            sessions.remove(&client);
            sessions.retain(|_, session| !session.datagrams.is_closed());
            if sessions.len() >= SESSIONS_PER_FRONT_MAX {
                shared.metrics.full.inc();
                continue;
            }
            let Some(session) = begin(&front, client, &picker, &shared).await else {
                shared.metrics.failed.inc();
                continue;
            };
            sessions.insert(client, session);
        }
        if let Some(session) = sessions.get(&client)
            && session.datagrams.try_send(datagram).is_err()
        {
            shared.metrics.lost.inc();
        }
    }
}

async fn begin(front: &Arc<UdpSocket>, client: SocketAddr, picker: &Picker, shared: &Shared) -> Option<Session> {
    let seat = shared.seat()?;
    let now = Instant::now();
    let endpoint = picker.candidates(client.ip(), now).into_iter().next()?;
    let upstream = connect(endpoint).await.ok()?;
    picker.took(client.ip(), endpoint, now);
    let (datagrams, waiting) = mpsc::channel(WAITING_MAX);
    let (front, active, shutdown) = (Arc::clone(front), shared.metrics.begin(), shared.tasks.shutdown().clone());
    shared.tasks.spawn_transient("service-ip/session", async move {
        let _held = (seat, active);
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = carry(&upstream, waiting, &front, client) => {}
        }
    });
    Some(Session { endpoint, datagrams })
}

async fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if endpoint.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}

/// Carries datagrams both ways until the front lets go of the session, the endpoint refuses, or both are silent.
async fn carry(upstream: &UdpSocket, mut waiting: mpsc::Receiver<Bytes>, front: &UdpSocket, client: SocketAddr) {
    loop {
        tokio::select! {
            biased;
            datagram = waiting.recv() => match datagram {
                Some(datagram) => if upstream.send(&datagram).await.is_err() { return },
                None => return,
            },
            ready = upstream.readable() => match ready.and_then(|()| receive(upstream)) {
                // A client that cannot be reached now may be in a moment; datagrams may be lost.
                Ok(datagram) => { let _ = front.send_to(&datagram, client).await; }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            () = sleep(SESSION_IDLE) => return,
        }
    }
}

/// What has come. The buffer is made when there is something to receive: most sessions are silent most of the time.
fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
    let length = socket.try_recv(&mut datagram)?;
    datagram.truncate(length);
    Ok(datagram)
}

//! TCP fronts: each connection is dialled on and copied both ways until both sides have finished.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base_rt::Phase;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::keeper::Shared;
use super::picker::Picker;

/// Connections of one front; further ones wait in the socket's queue.
const CONNECTIONS_PER_FRONT_MAX: usize = 4096;
/// How long an endpoint may take to accept.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// After an accept that failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After this much silence the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Accepts for ever.
pub(super) async fn serve(listener: TcpListener, picker: Arc<Picker>, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_PER_FRONT_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept at a service address");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = shared.seat() else {
            refuse(&stream);
            continue;
        };
        let (picker, active) = (Arc::clone(&picker), shared.metrics.begin());
        let (failed, shutdown) = (shared.metrics.failed.clone(), shared.tasks.shutdown().clone());
        shared.tasks.spawn_transient("service-ip/connection", async move {
            let _held = (place, seat, active);
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                is_taken = forward(stream, client, &picker) => if !is_taken { failed.inc(); }
            }
        });
    }
}

/// Carries one connection to its end. False if no endpoint took it.
async fn forward(mut client: TcpStream, from: SocketAddr, picker: &Picker) -> bool {
    let Some(mut server) = dial(from, picker).await else {
        refuse(&client);
        return false;
    };
    prepare(&client);
    prepare(&server);
    // How a connection breaks is its two ends' business: dropping both tells each.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    true
}

async fn dial(from: SocketAddr, picker: &Picker) -> Option<TcpStream> {
    for endpoint in picker.candidates(from.ip(), Instant::now()) {
        if let Ok(Ok(stream)) = timeout(DIAL_TIMEOUT, TcpStream::connect(endpoint)).await {
            picker.took(from.ip(), endpoint, Instant::now());
            return Some(stream);
        }
    }
    None
}

/// Has the connection reset when it is dropped, which is as near to "refused" as an accepted one comes.
fn refuse(stream: &TcpStream) {
    // Without it the client sees an orderly end; as good as it gets.
    let _ = stream.set_zero_linger();
}

fn prepare(stream: &TcpStream) {
    // Neither is needed for the connection to work.
    let _ = stream.set_nodelay(true);
    let _ =
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4));
}

//! Serving the API over HTTPS: HTTP/1.1 and HTTP/2 on listeners that are handed in.
//!
//! A client certificate of the server's own authority names the user; without one a token does. The number of connections is bounded; one that
//! does nothing for long is closed.

use std::future::Future;
use std::net::TcpListener as StdTcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Phase, Tasks};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::audit::PeerAddress;
use crate::authn::certificate;
use crate::core::Core;
use crate::http::service::{ApiService, PeerIdentity};

/// So many connections at once.
const MAX_CONNECTIONS: usize = 2048;
/// A handshake may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The head of a request may take so long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an idle HTTP/2 connection is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// So many requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// What a connection may read ahead or hold back, for whoever is not yet known: small, because there may be many.
const BUFFER_BYTES: usize = 64 << 10;
/// What an HTTP/2 client may send of one body before it is read.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all bodies of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 128 << 10;
/// How long requests under way have when the server ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// What a listener waits after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Certificates as PEM texts.
#[derive(Clone)]
pub struct TlsFiles {
    /// The serving certificate, with intermediates.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
    /// The authority of client certificates.
    pub client_authority_pem: String,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A PEM text cannot be read.
    #[error("read the {what}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificates do not fit together.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// The authority of client certificates cannot be used.
    #[error("set up client certificates")]
    ClientVerifier(#[source] rustls::server::VerifierBuilderError),
    /// A listener cannot be used.
    #[error("use a listener")]
    Listener(#[source] std::io::Error),
}

/// Starts serving on listeners; returns once they accept.
pub(crate) fn start(core: &Arc<Core>, listeners: Vec<StdTcpListener>, files: &TlsFiles) -> Result<(), ServeError> {
    let acceptor = TlsAcceptor::from(Arc::new(configuration(files)?));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        listener.set_nonblocking(true).map_err(ServeError::Listener)?;
        let listener = TcpListener::from_std(listener).map_err(ServeError::Listener)?;
        let server =
            Server { core: Arc::clone(core), acceptor: acceptor.clone(), connections: Arc::clone(&connections) };
        core.tasks.spawn("apiserver/listener", async move {
            server.accept(listener).await;
            Ok(())
        });
    }
    Ok(())
}

fn configuration(files: &TlsFiles) -> Result<ServerConfig, ServeError> {
    let certificates = |pem: &str, what| {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| ServeError::Pem { what, source })
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.client_authority_pem, "authority of client certificates")? {
        roots.add(authority).map_err(ServeError::Tls)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(ServeError::ClientVerifier)?;
    let chain = certificates(&files.certificate_pem, "serving certificate")?;
    let key = PrivateKeyDer::from_pem_slice(files.key_pem.as_bytes())
        .map_err(|source| ServeError::Pem { what: "serving key", source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServeError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(ServeError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

struct Server {
    core: Arc<Core>,
    acceptor: TlsAcceptor,
    connections: Arc<Semaphore>,
}

impl Server {
    async fn accept(&self, listener: TcpListener) {
        let shutdown = self.core.tasks.shutdown();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.reached(Phase::Lame) => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.core.metrics.connections_refused.inc();
                continue;
            };
            let connection = Connection { core: Arc::clone(&self.core), acceptor: self.acceptor.clone() };
            self.core.tasks.spawn_transient("apiserver/connection", async move {
                connection.core.metrics.connections.inc();
                connection.serve(stream).await;
                connection.core.metrics.connections.dec();
                drop(permit);
            });
        }
    }
}

struct Connection {
    core: Arc<Core>,
    acceptor: TlsAcceptor,
}

impl Connection {
    async fn serve(&self, stream: TcpStream) {
        // Answers are written whole; waiting to fill packets would only delay them.
        let _ = stream.set_nodelay(true);
        let address = stream.peer_addr().ok().map(|address| PeerAddress(address.ip().to_canonical()));
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await else {
            return;
        };
        let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(certificate::identity);
        let api = ApiService::new(Arc::clone(&self.core), None);
        let api = api.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            if let Some(peer) = &peer {
                request.extensions_mut().insert(PeerIdentity(peer.clone()));
            }
            if let Some(address) = address {
                request.extensions_mut().insert(address);
            }
            request
        });
        let mut builder = auto::Builder::new(Spawner(self.core.tasks.clone()));
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(BUFFER_BYTES)
            .max_concurrent_streams(MAX_STREAMS);
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(api));
        let mut served = pin!(served);
        let shutdown = self.core.tasks.shutdown();
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Lame) => {}
            _ = served.as_mut() => return,
        }
        served.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, served).await;
    }
}

/// Starts the tasks of HTTP/2 connections, under the server's ownership.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_transient("apiserver/stream", future);
    }
}

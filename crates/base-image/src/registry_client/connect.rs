//! Connecting: from a host's name to a stream, with or without TLS.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::resolver::{is_private, literal};
use super::transport::Scheme;
use super::{CONNECT_TIMEOUT, ClientOptions, LOOKUP_TIMEOUT, NameResolver};

/// How many of a name's addresses are tried.
const MAX_ADDRESSES: usize = 4;

/// Makes connections. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolver: Arc<dyn NameResolver>,
    plain_http: BTreeSet<String>,
    extra_roots: Vec<CertificateDer<'static>>,
    /// Made at the first use: the system's roots are many, and a local registry needs none.
    tls: OnceLock<Option<Arc<ClientConfig>>>,
}

/// A connection, with or without TLS.
pub(super) struct Stream(TokioIo<Box<dyn Duplex>>);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Connector {
    pub(super) fn new(resolver: Arc<dyn NameResolver>, options: ClientOptions) -> Self {
        let ClientOptions { plain_http, extra_roots } = options;
        Self(Arc::new(Inner { resolver, plain_http, extra_roots, tls: OnceLock::new() }))
    }

    /// Whether `registry` may be spoken to without TLS, as far as its present addresses say.
    pub(super) async fn allows_plain(&self, registry: &str) -> bool {
        let Ok((host, port)) = split_authority(registry, Scheme::Http) else {
            return false;
        };
        self.plain_addresses(registry, &host, port).await.is_ok_and(|addresses| !addresses.is_empty())
    }

    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let scheme = if uri.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        let (host, port) = split_authority(authority, scheme)?;
        if scheme == Scheme::Http {
            let addresses = self.plain_addresses(authority, &host, port).await?;
            if addresses.is_empty() {
                return Err(ConnectError::PlainHttp { host });
            }
            return Ok(Stream(TokioIo::new(Box::new(dial(&host, &addresses).await?))));
        }
        let tls = self.tls().ok_or(ConnectError::NoRoots)?;
        let stream = dial(&host, &self.addresses(&host, port).await?).await?;
        let failed = |source: io::Error| ConnectError::Tls { host: host.clone(), source: Arc::new(source) };
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| failed(io::Error::other(error)))?;
        let stream = timeout(CONNECT_TIMEOUT, tls.connect(name, stream)).await;
        let stream = stream.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        Ok(Stream(TokioIo::new(Box::new(stream))))
    }

    /// The addresses that may be spoken to without TLS.
    async fn plain_addresses(&self, registry: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut addresses = self.addresses(host, port).await?;
        let is_listed = [registry, host].iter().any(|name| self.0.plain_http.contains(*name));
        addresses.retain(|address| is_listed || is_private(address.ip()));
        Ok(addresses)
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses: Vec<IpAddr> = match literal(host) {
            Some(addresses) => addresses,
            None => {
                let found = timeout(LOOKUP_TIMEOUT, self.0.resolver.lookup(host.to_owned())).await;
                let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                found.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source: Arc::new(source) })?
            }
        };
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress { host: host.to_owned() });
        }
        Ok(addresses.into_iter().take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, port)).collect())
    }

    fn tls(&self) -> Option<TlsConnector> {
        self.0.tls.get_or_init(|| make_tls(&self.0.extra_roots)).clone().map(TlsConnector::from)
    }
}

fn make_tls(extra_roots: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read or understood only costs the registries that need it.
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of the system's cannot be read");
    }
    roots.add_parsable_certificates(found.certs.into_iter().chain(extra_roots.iter().cloned()));
    if roots.is_empty() {
        return None;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().ok()?.with_root_certificates(roots).with_no_client_auth();
    Some(Arc::new(config))
}

async fn dial(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::NoAddress { host: host.to_owned() };
    for address in addresses {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // Without it small requests wait for acknowledgements; if it cannot be set they merely do.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => last = ConnectError::Tcp { address: *address, source: Arc::new(source) },
        }
    }
    Err(last)
}

/// Host (an IPv6 address in brackets) and port.
fn split_authority(authority: &str, scheme: Scheme) -> Result<(String, u16), ConnectError> {
    let invalid = || ConnectError::Address { address: authority.to_owned() };
    let parsed: http::uri::Authority = authority.parse().map_err(|_| invalid())?;
    let default = if scheme == Scheme::Http { 80 } else { 443 };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = if has_port { parsed.port_u16().ok_or_else(invalid)? } else { default };
    Ok((parsed.host().to_owned(), port))
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Stream, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.clone().connect(uri).boxed()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(&'static str);

    impl NameResolver for Fixed {
        fn lookup(&self, _: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
            std::future::ready(Ok(self.0.split(' ').filter_map(|address| address.parse().ok()).collect())).boxed()
        }
    }

    #[tokio::test]
    async fn plain_http_is_for_private_addresses_and_listed_registries() {
        let plain_http = BTreeSet::from(["listed.example".to_owned(), "other.example:5000".to_owned()]);
        let connector = |addresses| {
            let options = ClientOptions { plain_http: plain_http.clone(), extra_roots: Vec::new() };
            Connector::new(Arc::new(Fixed(addresses)), options)
        };
        let public = connector("203.0.113.1");
        for (registry, allowed) in [
            ("registry.example", false),
            ("listed.example", true),
            ("listed.example:5000", true),
            ("other.example", false),
            ("other.example:5000", true),
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("203.0.113.1", false),
            ("", false),
        ] {
            assert_eq!(public.allows_plain(registry).await, allowed, "{registry}");
        }
        assert!(connector("10.0.0.1").allows_plain("registry.example").await);
        assert!(!connector("").allows_plain("registry.example").await);
        let mixed = connector("203.0.113.1 10.0.0.1").plain_addresses("registry.example", "registry.example", 80).await;
        assert_eq!(mixed.unwrap(), ["10.0.0.1:80".parse().unwrap()], "only the private one may be spoken to");
        let refused = public.connect("http://registry.example/v2/".parse().unwrap()).await;
        assert!(matches!(refused, Err(ConnectError::PlainHttp { .. })));
    }

    #[test]
    fn authorities_have_a_host_and_a_port() {
        let split = |text: &str| split_authority(text, Scheme::Https).unwrap();
        assert_eq!(split("ghcr.io"), ("ghcr.io".into(), 443));
        assert_eq!(split("127.0.0.1:5000"), ("127.0.0.1".into(), 5000));
        assert_eq!(split("[::1]"), ("[::1]".into(), 443));
        assert_eq!(split("[::1]:5000"), ("[::1]".into(), 5000));
        assert_eq!(split_authority("a", Scheme::Http).unwrap().1, 80);
        for text in ["", "a b", "a:", "a:99999"] {
            assert!(split_authority(text, Scheme::Https).is_err(), "{text}");
        }
    }
}

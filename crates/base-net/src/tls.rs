//! TLS: certificates from PEM, chosen by the name that a client asks for, replaced while connections go on.
//!
//! The cryptography is aws-lc-rs throughout. [`Certificates`] is the resolver of a server's configuration: renewing a certificate is
//! [`Certificates::replace`], and connections made after it see the new one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
pub use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

/// Why there is no TLS as asked for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no certificate, or a damaged one.
    #[error("could not read the certificates")]
    Certificates(#[source] rustls::pki_types::pem::Error),
    /// The text holds no private key, or a damaged one.
    #[error("could not read the private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Certificate and key do not go together, or are of no use.
    #[error("could not use the certificate")]
    Pair(#[source] rustls::Error),
    /// The certificates of the authorities are of no use.
    #[error("could not use the authorities' certificates")]
    Roots(#[source] rustls::Error),
    /// Clients cannot be verified with these authorities.
    #[error("could not verify clients")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The versions asked for are not supported.
    #[error("could not configure TLS")]
    Configure(#[source] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(TlsError::Certificates)?;
    if all.is_empty() {
        return Err(TlsError::Certificates(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// A certificate with its chain and key, from PEM.
///
/// # Errors
/// One of them cannot be read, or they do not go together.
pub fn certified_key(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(TlsError::Key)?;
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(TlsError::Pair)
}

/// The certificates of a server, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<ArcSwap<Names>>);

#[derive(Clone, Debug, Default)]
struct Names {
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
    otherwise: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Puts these in place of all before: by host name in lower case (`*.example.com` for one label below), and one for clients that ask for
    /// no name or for an unknown one (none: those are refused).
    pub fn replace(&self, by_name: BTreeMap<String, Arc<CertifiedKey>>, otherwise: Option<Arc<CertifiedKey>>) {
        self.0.store(Arc::new(Names { by_name, otherwise }));
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let names = self.0.load();
        let exact = name.and_then(|name| names.by_name.get(name));
        let below = || {
            let (_label, parent) = name?.split_once('.')?;
            names.by_name.get(&format!("*.{parent}"))
        };
        exact.or_else(below).or(names.otherwise.as_ref()).map(Arc::clone)
    }
}

/// rustls asks a resolver; ours looks a name up.
#[derive(Debug)]
struct Resolver(Certificates);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(hello.server_name().map(str::to_ascii_lowercase).as_deref())
    }
}

/// Which clients a server wants to know.
#[derive(Clone, Copy, Debug)]
pub enum ClientAuth<'a> {
    /// It asks for no certificate.
    None,
    /// A client that shows a certificate is verified by these authorities (PEM); one that shows none is served too.
    Optional(&'a [u8]),
    /// A client has to show a certificate of these authorities (PEM).
    Required(&'a [u8]),
}

/// A server's configuration: HTTP/2 and HTTP/1.1 by ALPN, TLS 1.2 and 1.3.
///
/// # Errors
/// The authorities cannot be used.
pub fn server_config(own: &Certificates, clients: ClientAuth<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_of(rustls::DEFAULT_VERSIONS, own, clients)
}

/// The same with TLS 1.3 alone and without certificates of clients: for parts of one system among themselves.
///
/// # Errors
/// TLS cannot be configured.
pub fn newest_server_config(own: &Certificates) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_of(&[&rustls::version::TLS13], own, ClientAuth::None)
}

fn server_config_of(
    versions: &[&'static SupportedProtocolVersion],
    own: &Certificates,
    clients: ClientAuth<'_>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(TlsError::Configure)?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(pem) | ClientAuth::Required(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider());
            let verifier =
                if matches!(clients, ClientAuth::Optional(_)) { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Verifier)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(own.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whether the text (PEM) holds authorities' certificates, and nothing that is damaged.
pub fn are_authorities(pem: &[u8]) -> bool {
    roots(pem).is_ok()
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(TlsError::Roots)?;
    }
    Ok(roots)
}

/// How a client speaks TLS, replaced while connections go on. Clones share it. Until it is set, there is none.
#[derive(Clone, Debug, Default)]
pub struct ClientTls(Arc<ArcSwapOption<ClientConfig>>);

impl ClientTls {
    /// From now on connections are made so.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        self.0.store(Some(config));
    }

    /// Whether it has been set.
    pub fn is_set(&self) -> bool {
        self.0.load().is_some()
    }

    pub(crate) fn get(&self) -> Option<Arc<ClientConfig>> {
        self.0.load_full()
    }
}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(Arc::new(ArcSwapOption::new(Some(config))))
    }
}

/// Which servers a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those with a certificate of these authorities (PEM).
    Authorities(&'a [u8]),
    /// Everybody, as a kubelet's HTTPS probes do: the connection is encrypted, who is at its end is not known.
    Anybody,
}

/// A client's configuration, with its own certificate where the server asks for one.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn client_config(trust: Trust<'_>, own: Option<Arc<CertifiedKey>>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configure)?;
    let builder = match trust {
        Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider()))),
    };
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own))),
    };
    Ok(Arc::new(config))
}

/// Believes any certificate, but not that a signature is good when it is not.
struct AnyServer(Arc<CryptoProvider>);

impl fmt::Debug for AnyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyServer")
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

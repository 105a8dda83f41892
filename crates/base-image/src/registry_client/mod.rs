//! A client for registries: manifests and blobs, in both directions, in bounded memory.
//!
//! ```text
//! RegistryClient::fetch_manifest, head_manifest, fetch_blob      (used by `pull`)
//! RegistryClient::push_archive, list_images, remove_image        (used by the command line on the running instance)
//!        │ Session: one registry, one scope, one set of credentials: authorises, follows redirects
//!        ▼
//! Transport: pooled connections ── Connector: names → addresses → TCP → TLS
//! ```
//! **Names** are resolved by [`NameResolver`], never by the C library, which a static binary cannot use. **TLS** trusts the system's
//! roots and what [`ClientOptions`] adds. **Plain HTTP** is spoken only where TLS does not answer and the address is loopback or
//! private, or the registry is listed; this is decided on the resolved address, when connecting. **Redirects** do not carry
//! credentials to other hosts and never lead from TLS to plain HTTP; neither does a token's realm.
//!
//! Everything read into memory has a bound, everything waited for a limit.
//! Specified by: OCI distribution-spec v1.1; Docker's registry token authentication.

mod auth;
mod challenge;
mod connect;
mod error;
mod fetch;
mod push;
mod resolver;
mod session;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_rt::{Clock, Tasks};
use http::StatusCode;
use rustls::pki_types::CertificateDer;

pub use error::{ConnectError, FetchError};
pub use push::ProgressReceiver;
pub use resolver::{NameResolver, SystemResolver};

pub(crate) use fetch::Fetched;
pub(crate) use session::{Action, Session};

use auth::Tokens;
use connect::Connector;
use transport::{Scheme, Transport};

/// Until a connection stands, TLS included, to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Until a host's name is known. Shorter than what callers allow for the whole, so that they hear what it was that took so long.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Until a response's head is there.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two pieces of a body.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);

/// Registries whose scheme is remembered.
const MAX_KNOWN_HOSTS: usize = 1000;

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Registries (host and optional port) that may be spoken to without TLS wherever they are.
    pub plain_http: BTreeSet<String>,
    /// Certificates of authorities to trust besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// A client for any registry. Clones share connections, tokens and what is known about registries.
#[derive(Clone, Debug)]
pub struct RegistryClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    connector: Connector,
    tokens: Tokens,
    schemes: Mutex<BTreeMap<String, Scheme>>,
}

impl RegistryClient {
    /// A client whose connections are tasks of `tasks`. Nothing is read or connected before the first request.
    pub fn new(tasks: &Tasks, clock: Clock, resolver: Arc<dyn NameResolver>, options: ClientOptions) -> Self {
        let connector = Connector::new(resolver, options);
        Self(Arc::new(Inner {
            transport: Transport::new(tasks, connector.clone()),
            connector,
            tokens: Tokens::new(clock),
            schemes: Mutex::default(),
        }))
    }

    /// How `host` is spoken to: by TLS if it answers so, without where that is allowed.
    async fn scheme(&self, host: &str) -> Result<Scheme, FetchError> {
        if let Some(scheme) = self.schemes().get(host) {
            return Ok(*scheme);
        }
        let scheme = match self.0.transport.probe(Scheme::Https, host).await {
            Ok(_) => Scheme::Https,
            Err(error) if error.is_no_https() && self.0.connector.allows_plain(host).await => {
                // Where no registry answers plain HTTP either (servers of TLS tell such clients of their mistake), what TLS met says more.
                match self.0.transport.probe(Scheme::Http, host).await {
                    Ok(StatusCode::OK | StatusCode::UNAUTHORIZED) => Scheme::Http,
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let mut schemes = self.schemes();
        if schemes.len() >= MAX_KNOWN_HOSTS {
            schemes.clear();
        }
        schemes.insert(host.to_owned(), scheme);
        Ok(scheme)
    }

    fn schemes(&self) -> MutexGuard<'_, BTreeMap<String, Scheme>> {
        self.0.schemes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

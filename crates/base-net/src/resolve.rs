//! Names to addresses, without the C library's resolver: a static binary has none that works.
//!
//! Reads `/etc/resolv.conf` and `/etc/hosts` (or is told the servers), asks over UDP and TCP, and keeps answers as long as they say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// Answers that are kept.
const CACHED_NAMES: u64 = 1024;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's configuration cannot be read.
    #[error("could not read the resolver's configuration")]
    Configure(#[source] NetError),
    /// Nobody knows the name, or nobody answered.
    #[error("could not find {name}")]
    Lookup {
        /// The name.
        name: String,
        /// What the servers said.
        #[source]
        source: NetError,
    },
}

/// Finds addresses. Clones share what is kept.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// As this machine is configured.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        Self::build(TokioResolver::builder_tokio().map_err(ResolveError::Configure)?)
    }

    /// Asks the servers of `config`.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn with_config(config: ResolverConfig) -> Result<Self, ResolveError> {
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, ResolveError> {
        builder.options_mut().cache_size = CACHED_NAMES;
        builder.build().map(Self).map_err(ResolveError::Configure)
    }

    /// The addresses of `host`, in the order to try them. An address is its own answer, and `localhost` (with all below it) is this machine.
    ///
    /// # Errors
    /// There is none.
    pub async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(addr) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(addr, port)]);
        }
        let name = host.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
        }
        let found = self.0.lookup_ip(host).await;
        let found = found.map_err(|source| ResolveError::Lookup { name: host.to_owned(), source })?;
        Ok(found.iter().map(|addr| SocketAddr::new(addr, port)).collect())
    }
}

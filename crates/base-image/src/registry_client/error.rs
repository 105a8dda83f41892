//! What can go wrong between here and a registry, in words that a person can act on: they become conditions of their Services.

use std::io;
use std::sync::Arc;

use crate::config::ConfigError;
use crate::digest::{Digest, DigestError};
use crate::image::ImageMismatch;
use crate::manifest::ManifestError;
use crate::platform::WrongPlatform;
use crate::store::{BlobError, LoadError, RefError};

/// An image cannot be found, fetched, or used here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry says that it has no such thing.
    #[error("image {image} was not found: check its name and tag, or import it with `kwick image import`")]
    NotFound {
        /// The reference.
        image: String,
    },
    /// The registry wants credentials, or other ones.
    #[error(
        "registry {registry} refuses access to {image}: it does not exist there, or it needs (other) credentials{message}"
    )]
    Unauthorized {
        /// The reference.
        image: String,
        /// The registry's host.
        registry: String,
        /// What it says about it, in brackets; or empty.
        message: String,
    },
    /// The registry answers too many requests for this address or user.
    #[error("registry {registry} limits how often it may be asked (too many requests): wait, or use credentials")]
    RateLimited {
        /// The registry's host.
        registry: String,
    },
    /// There is no connection.
    #[error("registry {registry} cannot be reached")]
    Connect {
        /// The registry's host.
        registry: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// The connection broke.
    #[error("the connection to registry {registry} broke")]
    Broken {
        /// The registry's host.
        registry: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for too long.
    #[error("registry {registry} did not answer within {seconds} s")]
    Timeout {
        /// The registry's host.
        registry: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A status that means none of the above.
    #[error("registry {registry} answered with status {status}{message}")]
    Status {
        /// The registry's host.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What it says about it, in brackets; or empty.
        message: String,
    },
    /// An answer that is none.
    #[error("registry {registry} answered with {what}")]
    Protocol {
        /// The registry's host.
        registry: String,
        /// What is wrong.
        what: String,
    },
    /// More bytes than announced or allowed.
    #[error("{what} of {image} is too large: at most {limit} bytes are allowed")]
    TooLarge {
        /// The reference.
        image: String,
        /// Which part.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The registry sent something else than what was asked for.
    #[error(
        "the content that the registry sent for {image} is not the one asked for: expected {expected}, got {actual}"
    )]
    WrongContent {
        /// The reference.
        image: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// A digest in the registry's answer is none, or of an unknown algorithm.
    #[error("image {image} cannot be used")]
    Digest {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// Its manifest is malformed.
    #[error("image {image} cannot be used")]
    Manifest {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// Its configuration is malformed.
    #[error("image {image} cannot be used")]
    Config {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// Its manifest and configuration disagree.
    #[error("image {image} cannot be used")]
    Mismatch {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: ImageMismatch,
    },
    /// It is for other machines.
    #[error("image {image} does not run on this machine")]
    WrongPlatform {
        /// The reference.
        image: String,
        /// What it is for.
        #[source]
        source: Box<WrongPlatform>,
    },
    /// What the store has of it is not usable.
    #[error("image {image} in the local store cannot be used")]
    Load {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: Box<LoadError>,
    },
    /// It cannot be stored.
    #[error("store image {image}")]
    Store {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// It cannot be recorded.
    #[error("store image {image}")]
    Record {
        /// The reference.
        image: String,
        /// Why.
        #[source]
        source: RefError,
    },
    /// What is to be sent cannot be read.
    #[error("read {what} to send it")]
    Source {
        /// Which part.
        what: String,
        /// Why.
        #[source]
        source: Box<crate::import::ImportError>,
    },
}

/// There is no connection to a host.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name is not known.
    #[error("resolve its name {host:?}")]
    Resolve {
        /// The host's name.
        host: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Its name has no address.
    #[error("its name {host:?} has no address")]
    NoAddress {
        /// The host's name.
        host: String,
    },
    /// No address answers.
    #[error("connect to {address}")]
    Tcp {
        /// The last address tried.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// It does not speak TLS, or its certificate is not trusted.
    #[error("agree on TLS with {host}")]
    Tls {
        /// The host's name.
        host: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// No certificate of any authority.
    #[error("this machine has no certificates of authorities to trust (install the package ca-certificates)")]
    NoRoots,
    /// It answers only without TLS, and is neither local nor listed.
    #[error("it may be reached by TLS only: {host} is no loopback or private address, nor listed for plain HTTP")]
    PlainHttp {
        /// The host's name.
        host: String,
    },
    /// The address cannot be used.
    #[error("{address:?} is no host and port")]
    Address {
        /// As given.
        address: String,
    },
}

impl FetchError {
    /// Whether there is a host, of which no HTTP over TLS comes (port 443 may be closed where 80 is open).
    pub(super) fn is_no_https(&self) -> bool {
        matches!(
            self,
            Self::Connect { source: ConnectError::Tls { .. } | ConnectError::Tcp { .. } | ConnectError::NoRoots, .. }
                | Self::Broken { .. }
        )
    }

    /// Whether trying again in a moment may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !matches!(source, ConnectError::PlainHttp { .. } | ConnectError::NoRoots),
            Self::Broken { .. } | Self::Timeout { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

//! Pulling: the store first, then the registry; what arrives is complete, verified and runnable here, or it has no name.
//!
//! ```text
//! resolve(reference) ── digest given ───────────────► it
//!                    ── put here on purpose ────────► the store's digest        (any registry's name: the store is its mirror)
//!                    ── otherwise ──────────────────► HEAD at the registry
//! pull(reference)    ── the store has it ───────────► Image
//!                    ── otherwise: manifest ► platform ► configuration ► layers, some at once ► record ► Image
//! ```
//! Any number of pulls may run at once: a blob that two of them need is fetched once, and all together have a bounded number of
//! downloads. What a pull needs is leased while it runs, so that no collection takes it away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base_rt::Clock;
use base_rt::backoff::Backoff;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use crate::config::{ImageConfig, MAX_CONFIG_BYTES};
use crate::digest::Digest;
use crate::image::Image;
use crate::keychain::Keychain;
use crate::manifest::{Descriptor, Document, Manifest};
use crate::platform::{Platform, WrongPlatform};
use crate::reference::{Reference, Selector};
use crate::registry_client::{Action, FetchError, Fetched, RegistryClient, Session};
use crate::store::{BlobError, Lease, LoadError, Origin, Store};

/// Layers that are fetched at once, by all pulls together.
const MAX_DOWNLOADS: usize = 4;

/// The largest image: the sum of its layers as transferred.
const MAX_IMAGE_BYTES: u64 = 64 << 30;

/// How many indexes may lead to a manifest.
const MAX_INDEX_DEPTH: usize = 3;

/// How often something is tried that may work in a moment.
const MAX_ATTEMPTS: usize = 3;

/// The first and the longest wait between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(3));

/// Pulls images into a store. Clones share their downloads.
#[derive(Clone, Debug)]
pub struct Puller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    client: RegistryClient,
    clock: Clock,
    downloads: Semaphore,
    /// Who fetches which blob: one permit each.
    flights: Mutex<BTreeMap<Digest, Weak<Semaphore>>>,
}

impl Puller {
    /// A puller into `store`.
    pub fn new(store: Store, client: RegistryClient, clock: Clock) -> Self {
        let (downloads, flights) = (Semaphore::new(MAX_DOWNLOADS), Mutex::default());
        Self(Arc::new(Inner { store, client, clock, downloads, flights }))
    }

    /// The digest that `reference` means: of a manifest, or of an index. `timeout` is the longest wait for one answer of a registry.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn resolve(
        &self,
        reference: &Reference,
        keychain: &dyn Keychain,
        timeout: Duration,
    ) -> Result<Digest, FetchError> {
        if let Some(digest) = self.known_digest(reference)? {
            return Ok(digest);
        }
        let session = self.0.client.session(reference.host(), reference, Action::Pull, keychain).await?;
        session.with_timeout(timeout).resolve(reference.selector()).await
    }

    /// The image that `reference` means, for this machine, with everything in the store.
    ///
    /// # Errors
    /// [`FetchError`]. What had arrived stays for a while, so that the next try is shorter.
    pub async fn pull(&self, reference: &Reference, keychain: &dyn Keychain) -> Result<Image, FetchError> {
        if let Some(image) = self.stored_image(reference).await? {
            return Ok(image);
        }
        let session = self.0.client.session(reference.host(), reference, Action::Pull, keychain).await?;
        let lease = self.0.store.lease_blobs([]);
        let top = retry(|| session.fetch_manifest(reference.selector())).await?;
        let image = reference.to_string();
        let manifest = self.fetch_tree(&session, &lease, &image, &top).await?;
        self.fetch_parts(&session, &lease, &image, &manifest).await?;
        self.record(reference, top.digest).await?;
        self.load(reference, top.digest).await
    }

    /// The image as the store has it, however it came there and however old a copy it is, with everything; `None` if a pull is needed.
    /// This asks nobody: it is what a pull policy of `IfNotPresent` or `Never` wants to know.
    ///
    /// # Errors
    /// [`FetchError`]: what the store has is not usable here, and pulling would not help.
    pub async fn present(&self, reference: &Reference) -> Result<Option<Image>, FetchError> {
        let recorded = || self.0.store.record(reference).map(|record| record.digest);
        let Some(digest) = reference.digest().or_else(recorded) else {
            return Ok(None);
        };
        let store = self.0.store.clone();
        match blocking(&reference.to_string(), move || store.image(digest)).await? {
            Ok(image) => Ok(Some(image)),
            Err(LoadError::Blob { source: BlobError::Missing { .. } | BlobError::Damaged { .. }, .. }) => Ok(None),
            Err(error) => Err(not_loaded(reference, error)),
        }
    }

    /// What the reference means without asking a registry, if that can be said. An image of this process's own registry is there or
    /// nowhere.
    fn known_digest(&self, reference: &Reference) -> Result<Option<Digest>, FetchError> {
        if let Some(digest) = reference.digest() {
            return Ok(Some(digest));
        }
        let record = self.0.store.record(reference).filter(|record| record.origin == Origin::Local);
        match record {
            Some(record) => Ok(Some(record.digest)),
            None if self.is_own(reference) => Err(FetchError::NotFound { image: reference.to_string() }),
            None => Ok(None),
        }
    }

    fn is_own(&self, reference: &Reference) -> bool {
        self.0.store.own_names().contains(reference.registry())
    }

    /// The image, if the store has it all. By digest it may have come under any name.
    async fn stored_image(&self, reference: &Reference) -> Result<Option<Image>, FetchError> {
        let Some(digest) = self.known_digest(reference)? else {
            return Ok(None);
        };
        let store = self.0.store.clone();
        let is_authority = self.is_own(reference) || reference.digest().is_none();
        match blocking(&reference.to_string(), move || store.image(digest)).await? {
            Ok(image) => {
                if self.0.store.record(reference).is_none() {
                    self.record(reference, digest).await?;
                }
                Ok(Some(image))
            }
            // The same content may be had elsewhere, unless this is the place.
            Err(LoadError::Blob { source: BlobError::Missing { .. } | BlobError::Damaged { .. }, .. })
                if !is_authority =>
            {
                Ok(None)
            }
            Err(LoadError::Blob { source: BlobError::Missing { digest: missing }, .. }) if missing == digest => {
                Err(FetchError::NotFound { image: reference.to_string() })
            }
            Err(error) => Err(not_loaded(reference, error)),
        }
    }

    /// Stores the documents from `top` down to the manifest for this machine.
    async fn fetch_tree(
        &self,
        session: &Session<'_>,
        lease: &Lease,
        image: &str,
        top: &Fetched,
    ) -> Result<Manifest, FetchError> {
        let mut at = top.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            self.keep_document(lease, image, &at).await?;
            let index = match at.document {
                Document::Manifest(manifest) => return Ok(*manifest),
                Document::Index(index) => index,
            };
            let chosen = Platform::host().select(&index.manifests).map_err(|source| wrong_platform(image, source))?;
            let selector = Selector::Digest(chosen.digest);
            at = retry(|| session.fetch_manifest(&selector)).await?;
        }
        let source = LoadError::TooDeep { digest: top.digest };
        Err(FetchError::Load { image: image.to_owned(), source: Box::new(source) })
    }

    async fn keep_document(&self, lease: &Lease, image: &str, fetched: &Fetched) -> Result<(), FetchError> {
        lease.extend([fetched.digest]);
        let (store, bytes) = (self.0.store.clone(), fetched.bytes.clone());
        let stored = blocking(image, move || store.put_blob(&bytes)).await?;
        stored.map(drop).map_err(|source| FetchError::Store { image: image.to_owned(), source })
    }

    /// Stores configuration and layers.
    async fn fetch_parts(
        &self,
        session: &Session<'_>,
        lease: &Lease,
        image: &str,
        manifest: &Manifest,
    ) -> Result<(), FetchError> {
        let total = manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        if total > MAX_IMAGE_BYTES {
            let what = "the sum of the layers".to_owned();
            return Err(FetchError::TooLarge { image: image.to_owned(), what, limit: MAX_IMAGE_BYTES });
        }
        lease.extend(manifest.layers.iter().chain([&manifest.config]).map(|part| part.digest));
        self.fetch_config(session, image, manifest).await?;
        let layers = manifest.layers.iter().filter(|layer| !crate::media_type::is_foreign_layer(&layer.media_type));
        // Collected and boxed: a stream over closures that borrow would make a future that no task of a runtime can own.
        let fetches: Vec<_> = layers.map(|layer| self.fetch_layer(session, layer).boxed()).collect();
        stream::iter(fetches).buffer_unordered(MAX_DOWNLOADS).try_for_each(|()| std::future::ready(Ok(()))).await
    }

    /// The configuration comes first: it may say that the layers are for nothing.
    async fn fetch_config(&self, session: &Session<'_>, image: &str, manifest: &Manifest) -> Result<(), FetchError> {
        let bytes = retry(|| session.fetch_small(&manifest.config, "the configuration", MAX_CONFIG_BYTES)).await?;
        let config = ImageConfig::parse(&bytes);
        let config = config.map_err(|source| FetchError::Config { image: image.to_owned(), source })?;
        Platform::host().check(&config.platform).map_err(|source| wrong_platform(image, source))?;
        let fits = Image::new(manifest.config.digest, manifest, config);
        fits.map_err(|source| FetchError::Mismatch { image: image.to_owned(), source })?;
        let store = self.0.store.clone();
        let stored = blocking(image, move || store.put_blob(&bytes)).await?;
        stored.map(drop).map_err(|source| FetchError::Store { image: image.to_owned(), source })
    }

    async fn fetch_layer(&self, session: &Session<'_>, layer: &Descriptor) -> Result<(), FetchError> {
        let flight = self.flight(layer.digest);
        // Neither semaphore is ever closed, so an error cannot come; it would only cost the order.
        let _alone = flight.acquire().await;
        if self.0.store.touch(layer.digest).is_some() {
            return Ok(());
        }
        let _download = self.0.downloads.acquire().await;
        retry(|| session.fetch_blob(layer, &self.0.store)).await
    }

    fn flight(&self, digest: Digest) -> Arc<Semaphore> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(&digest).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(Semaphore::new(1));
        flights.insert(digest, Arc::downgrade(&flight));
        flight
    }

    async fn record(&self, reference: &Reference, digest: Digest) -> Result<(), FetchError> {
        let (store, now, name) = (self.0.store.clone(), self.0.clock.now(), reference.clone());
        let image = reference.to_string();
        let recorded = blocking(&image, move || store.set_record(&name, digest, Origin::Pulled, now)).await?;
        recorded.map(drop).map_err(|source| FetchError::Record { image, source })
    }

    async fn load(&self, reference: &Reference, digest: Digest) -> Result<Image, FetchError> {
        let store = self.0.store.clone();
        let loaded = blocking(&reference.to_string(), move || store.image(digest)).await?;
        loaded.map_err(|error| not_loaded(reference, error))
    }
}

fn wrong_platform(image: &str, source: WrongPlatform) -> FetchError {
    FetchError::WrongPlatform { image: image.to_owned(), source: Box::new(source) }
}

fn not_loaded(reference: &Reference, error: LoadError) -> FetchError {
    let image = reference.to_string();
    match error {
        LoadError::Platform { source, .. } => FetchError::WrongPlatform { image, source },
        source => FetchError::Load { image, source: Box::new(source) },
    }
}

/// Tries again what may work in a moment. A registry that limits requests is not asked again so soon.
async fn retry<T, F: Future<Output = Result<T, FetchError>>>(mut work: impl FnMut() -> F) -> Result<T, FetchError> {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    for _ in 1..MAX_ATTEMPTS {
        match work().await {
            Err(error) if error.is_transient() && !matches!(error, FetchError::RateLimited { .. }) => {
                tracing::debug!(error = base_rt::error_chain(&error), "registry request is tried again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
    work().await
}

/// Runs what waits for the disk on a thread for that.
async fn blocking<T: Send + 'static>(image: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| FetchError::Store { image: image.to_owned(), source: BlobError::Write(error.into()) })
}

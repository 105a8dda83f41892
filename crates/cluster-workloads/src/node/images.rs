//! Images for containers: found or pulled as the policy says, and unpacked.
//!
//! What is there already costs no request and no disk: the store's records and the images read once are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_image::keychain::Keychain;
use base_image::pull::Puller;
use base_image::store::{Condemned, Lease};
use base_image::{Digest, Image, Reference, Store};
use base_rt::watch;
use base_rt::{TaskError, Timestamp, error_chain};
use cluster_sandbox::spec::{LayerName, UnpackSpec};
use cluster_sandbox::{RefusalCode, Sandbox};

/// Images that are kept in memory after they were read.
const KEPT_MAX: usize = 256;
/// How young a pulled image has to be to stay in any case; a kubelet's default.
const PULLED_MIN_AGE: Duration = Duration::from_secs(120);
/// How often and how long a start waits for a layer that is just being removed.
const CONDEMNED_TRIES: u32 = 200;
const CONDEMNED_PAUSE: Duration = Duration::from_millis(50);

/// When an image is asked for at its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// Each time.
    Always,
    /// When it is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// As a container states it; the API server has set the default.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            _ => Self::IfNotPresent,
        }
    }
}

/// An image ready to run; its blobs and layers stay while this does.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The image.
    pub(crate) image: Arc<Image>,
    /// `name@digest`.
    pub(crate) id: String,
    /// Keeps it.
    pub(crate) lease: Arc<Lease>,
    /// Whether it came from a registry just now.
    pub(crate) is_pulled: bool,
}

/// Why there is no image, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoImage {
    /// The reason of the container's waiting state.
    pub(crate) reason: &'static str,
    /// More about it.
    pub(crate) message: String,
}

/// The node's images.
pub(crate) struct Images {
    store: Store,
    puller: Puller,
    sandbox: Sandbox,
    /// The blobs' directory, relative to the one that the spawner knows.
    blobs: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    images: BTreeMap<Digest, Arc<Image>>,
    unpacked: BTreeSet<Digest>,
}

impl Known {
    /// A layer goes, and what is known of images that have it.
    fn forget(&mut self, layer: &Digest) {
        self.unpacked.remove(layer);
        self.images.retain(|_, image| image.layers.iter().all(|other| other.chain_id != *layer));
    }
}

impl Images {
    /// The node's images; those in `unpacked` are there.
    pub(crate) fn new(store: Store, puller: Puller, sandbox: Sandbox, blobs: PathBuf) -> Self {
        Self { store, puller, sandbox, blobs, known: Mutex::default() }
    }

    /// Learns which layers are unpacked already.
    pub(crate) async fn learn_layers(&self) {
        if let Ok(layers) = self.sandbox.layers().await {
            let digests = layers.iter().filter_map(|layer| Digest::from_hex(layer.as_str()));
            self.known().unpacked = digests.collect();
        }
    }

    /// Forgets which layers are unpacked: somebody removed one.
    pub(crate) fn forget_layers(&self) {
        self.known().unpacked.clear();
    }

    /// The manifest that a reference means here, without looking at it.
    pub(crate) fn digest(&self, image: &str) -> Option<Digest> {
        let reference: Reference = image.parse().ok()?;
        reference.digest().or_else(|| Some(self.store.record(&reference)?.digest))
    }

    /// The image as it is here; none if it is not.
    pub(crate) async fn present(&self, image: &str) -> Option<Arc<Image>> {
        let reference: Reference = image.parse().ok()?;
        self.find(&reference).await.ok().flatten()
    }

    /// Keeps the image that a run of an earlier process was started from, by its `name@digest`. None if it is not here any more; the
    /// spawner keeps the layers of what runs.
    pub(crate) async fn lease(&self, id: &str) -> Option<Arc<Lease>> {
        let image = self.present(id).await?;
        self.store.lease_image(&image).ok().map(Arc::new)
    }

    /// An image as its policy asks for it. `keychain` is asked for only if it has to be pulled.
    pub(crate) async fn ready<F>(&self, image: &str, policy: PullPolicy, keychain: F) -> Result<Ready, NoImage>
    where
        F: AsyncFnOnce() -> Arc<dyn Keychain>,
    {
        let reference: Reference = image.parse().map_err(|error| NoImage {
            reason: "InvalidImageName",
            message: format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {error}"
            ),
        })?;
        let failed = |error: &dyn std::error::Error| NoImage { reason: "ErrImagePull", message: error_chain(error) };
        // By digest it is the same wherever it comes from.
        let may_be_old = policy != PullPolicy::Always || reference.digest().is_some();
        let present = if may_be_old { self.find(&reference).await.map_err(|error| failed(&error))? } else { None };
        let (found, is_pulled) = match present {
            Some(found) => (found, false),
            None if policy == PullPolicy::Never => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                return Err(NoImage { reason: "ErrImageNeverPull", message });
            }
            None => {
                let keychain = keychain().await;
                let pulled = self.puller.pull(&reference, &*keychain).await;
                (self.keep(pulled.map_err(|error| failed(&error))?), true)
            }
        };
        let lease = self.lease_image(&found).await.map_err(|error| failed(&error))?;
        let id = format!("{}@{}", reference.name(), found.digest);
        Ok(Ready { image: found, id, lease: Arc::new(lease), is_pulled })
    }

    /// Keeps an image. A layer that is just being removed as unused is waited for: it is unpacked again.
    async fn lease_image(&self, image: &Image) -> Result<Lease, Condemned> {
        for _ in 0..CONDEMNED_TRIES {
            match self.store.lease_image(image) {
                Err(Condemned { .. }) => tokio::time::sleep(CONDEMNED_PAUSE).await,
                leased => return leased,
            }
        }
        self.store.lease_image(image)
    }

    /// Changes whenever an image may have come to be needed by nobody.
    pub(crate) fn removals(&self) -> watch::Receiver<u64> {
        self.store.removals()
    }

    /// Removes blobs and unpacked layers that nothing needs. If `may_forget`, copies of other registries' images that are none of `in_use`
    /// are not needed either.
    ///
    /// # Errors
    /// The store or the spawner did not do its part; what was removed was needed by nobody.
    pub(crate) async fn collect(
        &self,
        in_use: BTreeSet<Digest>,
        may_forget: bool,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        // A Pod that is yet to start may name what has no record any more.
        let _lease = self.store.lease_blobs(in_use.iter().copied());
        let store = self.store.clone();
        let collected = tokio::task::spawn_blocking(move || {
            if may_forget {
                let before = now.checked_sub(PULLED_MIN_AGE).unwrap_or(now);
                let forgotten = store.forget_pulled(before, &in_use)?;
                if forgotten > 0 {
                    tracing::info!(forgotten, "the disk is nearly full; pulled images that no pod names are forgotten");
                }
            }
            Ok::<_, TaskError>(store.collect_garbage(now)?)
        });
        let report = collected.await??;
        if report.removed > 0 {
            tracing::info!(blobs = report.removed, bytes = report.freed_bytes, "unused image content removed");
        }
        self.remove_layers().await
    }

    async fn remove_layers(&self) -> Result<(), TaskError> {
        let layers = self.sandbox.layers().await?;
        let present: Vec<Digest> = layers.iter().filter_map(|layer| Digest::from_hex(layer.as_str())).collect();
        let store = self.store.clone();
        // Nobody may begin to use a dead layer while this lives.
        let sweep = tokio::task::spawn_blocking(move || store.sweep_layers(present)).await??;
        for layer in sweep.dead() {
            self.known().forget(layer);
            match self.sandbox.remove_layer(&LayerName::try_new(layer.hex())?).await {
                // A container of an earlier process runs from it.
                Err(error) if error.refusal() == Some(RefusalCode::Busy) => {}
                Err(error) if error.refusal() == Some(RefusalCode::NotFound) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Why an image could not be unpacked. Where its blobs are damaged they are removed: the next try pulls them, or an import brings them.
    async fn unpackable(&self, image: &Image, error: &cluster_sandbox::SandboxError) -> String {
        let (store, layers) =
            (self.store.clone(), image.layers.iter().map(|layer| layer.digest).collect::<BTreeSet<_>>());
        let find =
            move || layers.into_iter().filter(|digest| store.discard_if_damaged(*digest).unwrap_or(false)).collect();
        let damaged: Vec<Digest> = tokio::task::spawn_blocking(find).await.unwrap_or_default();
        if damaged.is_empty() {
            return error_chain(error);
        }
        let names: Vec<_> = damaged
            .iter()
            .map(|digest| base_image::store::BlobError::Damaged { digest: *digest }.to_string())
            .collect();
        names.join("; ")
    }

    async fn find(&self, reference: &Reference) -> Result<Option<Arc<Image>>, base_image::registry_client::FetchError> {
        let digest = reference.digest().or_else(|| Some(self.store.record(reference)?.digest));
        let known = digest.and_then(|digest| self.known().images.get(&digest).map(Arc::clone));
        if known.is_some() {
            return Ok(known);
        }
        let found = self.puller.present(reference).await?;
        Ok(found.map(|image| self.keep(image)))
    }

    fn keep(&self, image: Image) -> Arc<Image> {
        let image = Arc::new(image);
        let mut known = self.known();
        if known.images.len() >= KEPT_MAX {
            known.images.pop_first();
        }
        known.images.insert(image.digest, Arc::clone(&image));
        image
    }

    /// Unpacks what is not yet.
    pub(crate) async fn unpack(&self, ready: &Ready) -> Result<(), NoImage> {
        let mut below = Vec::new();
        for layer in &ready.image.layers {
            let is_there = self.known().unpacked.contains(&layer.chain_id);
            if !is_there {
                let spec = UnpackSpec {
                    blob: self.blobs.join(layer.digest.hex()),
                    digest: layer.digest,
                    size: layer.size,
                    diff_id: layer.diff_id,
                    chain_id: layer.chain_id,
                    below: below.clone(),
                };
                if let Err(error) = self.sandbox.unpack(&spec).await {
                    // What is known of it may be what is wrong: the next try looks at the disk.
                    self.known().images.remove(&ready.image.digest);
                    let message = self.unpackable(&ready.image, &error).await;
                    return Err(NoImage { reason: "ErrImagePull", message });
                }
                self.known().unpacked.insert(layer.chain_id);
            }
            below.push(layer.chain_id);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

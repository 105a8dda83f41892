//! Leases: what must stay although no record leads to it, and the sweep of unpacked layers that respects them.
//!
//! Unpacked layers belong to root and lie outside the store, so the store only decides which of them are dead. Between that decision
//! and their removal nobody may start to use one: a [`LayerSweep`] *condemns* them, and a lease that needs a condemned layer is
//! refused until the sweep is dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::Store;
use crate::digest::Digest;
use crate::image::Image;

/// The leases that are held, and the layers that are being removed.
#[derive(Debug, Default)]
pub(super) struct Leases {
    next: u64,
    held: BTreeMap<u64, Held>,
    condemned: BTreeSet<Digest>,
}

#[derive(Debug, Default)]
struct Held {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

/// Keeps content and unpacked layers until it is dropped.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: u64,
}

/// A layer of the image is being removed at this moment: ask again shortly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unpacked layer {chain_id} is just being removed as unused")]
pub struct Condemned {
    /// The layer's chain id.
    pub chain_id: Digest,
}

/// Unpacked layers that nothing uses, to be removed before this is dropped.
#[derive(Debug)]
pub struct LayerSweep {
    store: Store,
    dead: BTreeSet<Digest>,
}

impl Leases {
    fn hold(&mut self, held: Held) -> u64 {
        self.next += 1;
        self.held.insert(self.next, held);
        self.next
    }

    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        self.held.values().flat_map(|held| &held.blobs).copied().collect()
    }

    pub(super) fn condemn(
        &mut self,
        present: impl Iterator<Item = Digest>,
        live: &BTreeSet<Digest>,
    ) -> BTreeSet<Digest> {
        let leased: BTreeSet<_> = self.held.values().flat_map(|held| &held.layers).copied().collect();
        let dead: BTreeSet<_> = present.filter(|layer| !live.contains(layer) && !leased.contains(layer)).collect();
        self.condemned.extend(&dead);
        dead
    }
}

impl Store {
    /// Keeps blobs, and what those of them need that are manifests.
    pub fn lease_blobs(&self, digests: impl IntoIterator<Item = Digest>) -> Lease {
        let held = Held { blobs: digests.into_iter().collect(), layers: BTreeSet::new() };
        let id = self.leases().hold(held);
        Lease { store: self.clone(), id }
    }

    /// Keeps an image's blobs and its unpacked layers. Hold it from before the unpacking until the container is gone.
    ///
    /// # Errors
    /// [`Condemned`] while one of the layers is being removed.
    pub fn lease_image(&self, image: &Image) -> Result<Lease, Condemned> {
        let layers: BTreeSet<_> = image.layers.iter().map(|layer| layer.chain_id).collect();
        let mut leases = self.leases();
        if let Some(chain_id) = layers.intersection(&leases.condemned).next() {
            return Err(Condemned { chain_id: *chain_id });
        }
        let id = leases.hold(Held { blobs: [image.digest].into(), layers });
        drop(leases);
        Ok(Lease { store: self.clone(), id })
    }
}

impl Lease {
    /// Adds blobs to what is kept, as they become known.
    pub fn extend(&self, digests: impl IntoIterator<Item = Digest>) {
        if let Some(held) = self.store.leases().held.get_mut(&self.id) {
            held.blobs.extend(digests);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.store.leases().held.remove(&self.id);
    }
}

impl LayerSweep {
    pub(super) fn new(store: Store, dead: BTreeSet<Digest>) -> Self {
        Self { store, dead }
    }

    /// The chain ids of the layers to remove.
    pub fn dead(&self) -> &BTreeSet<Digest> {
        &self.dead
    }
}

impl Drop for LayerSweep {
    fn drop(&mut self) {
        let mut leases = self.store.leases();
        leases.condemned.retain(|layer| !self.dead.contains(layer));
    }
}

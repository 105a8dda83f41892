//! An image that can be run: one platform's manifest, its configuration, and its layers in order.
//!
//! Each layer has three names. Its *digest* names the blob as stored and transferred; its *diff id* names the archive inside; its
//! *chain id* names the file system that results from applying it on top of all the layers below. What is unpacked is named by chain
//! id, because a layer alone does not say what its missing parent directories and links into lower layers look like.
//! Specified by: OCI image-spec `config.md` (layer DiffID, layer ChainID).

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest};
use crate::media_type;

/// An image for this machine, complete.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's digest (not the index's, where the reference leads to one).
    pub digest: Digest,
    /// The configuration's digest, which Docker calls the image id.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// The uncompressed archive's digest.
    pub diff_id: Digest,
    /// The digest of this layer on top of all below: the name of the unpacked directory.
    pub chain_id: Digest,
}

/// A manifest and a configuration that do not make an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageMismatch {
    /// The two disagree about the layers.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer that registries do not hold.
    #[error("layer {digest} is not distributable (Windows images have such layers)")]
    ForeignLayer {
        /// The layer's digest.
        digest: Digest,
    },
}

impl Image {
    /// Puts a manifest and its configuration together.
    ///
    /// # Errors
    /// [`ImageMismatch`].
    pub fn new(digest: Digest, manifest: &Manifest, config: ImageConfig) -> Result<Self, ImageMismatch> {
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(ImageMismatch::LayerCount { layers, diff_ids });
        }
        let layers = manifest.layers.iter().zip(chain(&config.diff_ids)).map(layer).collect::<Result<_, _>>()?;
        Ok(Self { digest, config_digest: manifest.config.digest, config, layers })
    }

    /// The sum of the layers' blobs, in bytes.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

fn layer((blob, (diff_id, chain_id)): (&Descriptor, (Digest, Digest))) -> Result<Layer, ImageMismatch> {
    if media_type::is_foreign_layer(&blob.media_type) {
        return Err(ImageMismatch::ForeignLayer { digest: blob.digest });
    }
    Ok(Layer { digest: blob.digest, size: blob.size, diff_id, chain_id })
}

/// Each diff id with its chain id.
fn chain(diff_ids: &[Digest]) -> impl Iterator<Item = (Digest, Digest)> {
    diff_ids.iter().scan(None, |below: &mut Option<Digest>, diff_id| {
        let chain_id = below.map_or(*diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
        *below = Some(chain_id);
        Some((*diff_id, chain_id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &[&str]) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::new(media_type::OCI_CONFIG, Digest::of(b"config"), 6),
            layers: layers.iter().map(|kind| Descriptor::new(*kind, Digest::of(kind.as_bytes()), 7)).collect(),
            subject: None,
            annotations: [].into(),
        }
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let diff_ids = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")];
        let chain_ids: Vec<_> = chain(&diff_ids).map(|(_, chain_id)| chain_id).collect();
        let second = Digest::of(format!("{} {}", diff_ids[0], diff_ids[1]).as_bytes());
        let third = Digest::of(format!("{second} {}", diff_ids[2]).as_bytes());
        assert_eq!(chain_ids, [diff_ids[0], second, third]);
    }

    #[test]
    fn disagreement_is_refused() {
        let config = ImageConfig { diff_ids: vec![Digest::of(b"a")], ..ImageConfig::default() };
        let image = Image::new(Digest::of(b"m"), &manifest(&[media_type::OCI_LAYER]), config.clone()).unwrap();
        assert_eq!((image.size(), image.layers[0].diff_id), (7, Digest::of(b"a")));
        let two = Image::new(Digest::of(b"m"), &manifest(&["a", "b"]), config.clone());
        assert_eq!(two.unwrap_err(), ImageMismatch::LayerCount { layers: 2, diff_ids: 1 });
        let foreign = manifest(&["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"]);
        assert!(matches!(Image::new(Digest::of(b"m"), &foreign, config), Err(ImageMismatch::ForeignLayer { .. })));
    }
}

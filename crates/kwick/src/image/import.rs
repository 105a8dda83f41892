//! `kwick image import`: the images of a file, sent to the running instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base_image::Reference;
use base_image::import::{Archive, ImportError};
use clap::Args;

use super::{ImageError, Registry, reference};

/// Where `-` is read from.
const STANDARD_INPUT: &str = "/dev/stdin";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker save hello | kwick image import -
  kwick image import hello.tar --name hello
  ko build --push=false --oci-layout-path ./hello ./cmd/hello && kwick image import ./hello --name hello")]
pub(crate) struct Import {
    /// An OCI layout directory, an OCI archive, or what `docker save` writes, compressed or not; - for standard input.
    file: PathBuf,
    /// What the image is called, where the file does not say or says otherwise.
    #[arg(long, value_name = "REF", value_parser = reference)]
    name: Option<Reference>,
}

impl Import {
    pub(super) async fn run(&self, registry: &Registry) -> Result<String, ImageError> {
        let failed = |error: ImportError| ImageError::Import { file: self.file.clone(), source: Box::new(error) };
        let path = if self.file == Path::new("-") { Path::new(STANDARD_INPUT) } else { &self.file };
        let archive = Arc::new(Archive::open(path).map_err(failed)?);
        let mut lines = Vec::new();
        for image in archive.named_images(self.name.as_ref()).map_err(failed)? {
            lines.push(registry.push("imported", &archive, &image).await?);
        }
        Ok(lines.join("\n"))
    }
}

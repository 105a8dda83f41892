//! `kwick image list`: what the instance has, under any name.

use std::collections::BTreeSet;

use base_image::registry_server::ImageEntry;
use base_image::store::Origin;
use clap::Args;

use super::{ImageError, Registry, size};
use crate::cli::{Output, table};

/// How much of a digest people look at.
const SHORT_DIGEST_LENGTH: usize = "sha256:".len() + 12;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kwick image list\n  kwick image list -o json | jq -r .[].reference")]
pub(crate) struct List {
    /// The form of the answer.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl List {
    pub(super) async fn run(&self, registry: &Registry) -> Result<String, ImageError> {
        let listed = registry.client.list_images(&registry.host()).await;
        let entries = named(listed.map_err(|error| registry.failed("list the images".to_owned(), error))?);
        match self.output {
            Some(Output::Json) => serde_json::to_string_pretty(&entries).map_err(ImageError::Json),
            None => {
                let rows: Vec<_> = entries.iter().map(row).collect();
                Ok(table::render(["NAME", "DIGEST", "SIZE", "PLATFORM", "ORIGIN", "SINCE"], &rows))
            }
        }
    }
}

/// Without the digests of images that have a tag: each tag has its digest as a reference of its own beside it.
fn named(entries: Vec<ImageEntry>) -> Vec<ImageEntry> {
    let of = |entry: &ImageEntry| (entry.reference.name(), entry.digest);
    let tagged: BTreeSet<_> = entries.iter().filter(|entry| entry.reference.tag().is_some()).map(of).collect();
    let is_told = |entry: &ImageEntry| entry.reference.tag().is_some() || !tagged.contains(&of(entry));
    entries.into_iter().filter(is_told).collect()
}

fn row(entry: &ImageEntry) -> [String; 6] {
    let digest = entry.digest.to_string();
    let origin = match entry.origin {
        Origin::Local => "local",
        Origin::Pulled => "pulled",
    };
    [
        entry.reference.to_familiar(),
        digest.get(..SHORT_DIGEST_LENGTH).unwrap_or(&digest).to_owned(),
        entry.size_bytes.map_or_else(|| "-".to_owned(), size),
        entry.platform.clone().unwrap_or_else(|| "other".to_owned()),
        origin.to_owned(),
        format!("{:.0}", entry.created),
    ]
}

//! `kwick image rm`: removes images. What runs goes on; what starts later needs the image again.

use base_image::Reference;
use clap::Args;

use super::{ImageError, Registry, reference};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kwick image rm hello")]
pub(crate) struct Remove {
    /// The images' names, as `kwick image list` shows them.
    #[arg(required = true, value_name = "REF", value_parser = reference)]
    names: Vec<Reference>,
}

impl Remove {
    pub(super) async fn run(&self, registry: &Registry) -> Result<String, ImageError> {
        let mut lines = Vec::new();
        for name in &self.names {
            let removed = registry.client.remove_image(&registry.host(), name).await;
            removed.map_err(|error| {
                let before = if lines.is_empty() { String::new() } else { format!(" ({})", lines.join(", ")) };
                registry.failed(format!("remove {}{before}", name.to_familiar()), error)
            })?;
            lines.push(format!("removed {}", name.to_familiar()));
        }
        Ok(lines.join("\n"))
    }
}

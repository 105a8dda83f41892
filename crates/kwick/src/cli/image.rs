//! `kwick image`: finds the instance's registry for [`crate::image`].

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;

use super::{Instance, block_on, require_running};
use crate::image::{self, ImageCommand};

#[derive(Debug, Args)]
pub(super) struct Image {
    #[command(flatten)]
    instance: Instance,
    #[command(subcommand)]
    command: ImageCommand,
}

impl Image {
    pub(super) fn run(self) -> Result<()> {
        let registry = registry(&self.instance)?;
        block_on(image::run(self.command, registry, &mut std::io::stdout().lock()))??;
        Ok(())
    }
}

/// Where the registry of the running instance is reached.
fn registry(instance: &Instance) -> Result<SocketAddr> {
    let dir = instance.dir()?;
    require_running(&dir, |record| record.registry)
}

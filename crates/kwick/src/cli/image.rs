//! `kwick image`: finds the instance's registry for [`crate::image`].

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use clap::Args;

use super::{Instance, block_on};
use crate::exit::{Ended, FAILED};
use crate::image::{self, ImageCommand};
use crate::instance::lock;
use crate::instance::record::Record;

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
    let nobody = || {
        let message = format!("nothing runs on {}; start it with `sudo kwick up --detach`", dir.path().display());
        Ended { code: FAILED, message }
    };
    if lock::running(&dir).is_none() {
        return Err(nobody().into());
    }
    let mut address = Record::load(&dir)?.and_then(|record| record.registry).ok_or_else(nobody)?;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Ok(address)
}

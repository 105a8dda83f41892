//! `kwick image …`: images of the running instance, through its registry.
//!
//! ```text
//! import FILE   ─► Archive (read here, as the invoking user) ─┐
//! pack BINARY   ─► assembled here, in a temporary directory ──┴─► pushed over HTTP, under any registry's name
//! list, rm      ─► the registry's own list of what it has under any name
//! ```
//! A name is what Docker would mean by it: `hello` is `docker.io/library/hello:latest`, which the instance then has as that registry's mirror;
//! `127.0.0.1:PORT/hello`, `localhost:PORT/hello` and the registry's name in the cluster are one image of the registry's own.

mod import;
mod list;
mod pack;
mod program;
mod progress;
mod remove;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base_image::ReferenceError;
use base_image::assemble::AssembleError;
use base_image::import::{Archive, ArchiveImage, ImportError};
use base_image::registry_client::{ClientOptions, FetchError, RegistryClient, SystemResolver};
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks};
use clap::Subcommand;

use program::ProgramError;
use progress::{Progress, size};

/// What is done with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Import images from a file: an OCI layout directory, an OCI archive, or what `docker save` writes.
    Import(import::Import),
    /// List the instance's images.
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Remove images.
    Rm(remove::Remove),
    /// Make an image from a statically linked program.
    Pack(pack::Pack),
}

/// Why a command about images failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// Nobody listens where the instance's registry should.
    #[error(
        "the instance's registry does not answer at {registry}; see `kwick status` (with `--only api` there is none)"
    )]
    Unreachable {
        /// Where it should be.
        registry: SocketAddr,
        /// What was tried.
        #[source]
        source: Box<FetchError>,
    },
    /// The registry does not do it.
    #[error("cannot {action}")]
    Registry {
        /// What was to be done.
        action: String,
        /// Why not.
        #[source]
        source: Box<FetchError>,
    },
    /// The file cannot be imported.
    #[error("cannot import {}", .file.display())]
    Import {
        /// As given.
        file: PathBuf,
        /// Why not.
        #[source]
        source: Box<ImportError>,
    },
    /// The program cannot run in an image of its own.
    #[error("cannot make an image of {}", .binary.display())]
    Program {
        /// As given.
        binary: PathBuf,
        /// Why not.
        #[source]
        source: ProgramError,
    },
    /// A path does not name what it should.
    #[error("{} has no file name that can be used in an image; copy it to one in UTF-8", .path.display())]
    FileName {
        /// The path.
        path: PathBuf,
    },
    /// The image cannot be put together.
    #[error("cannot put the image together")]
    Assemble(#[source] AssembleError),
    /// There is no temporary directory.
    #[error("cannot make a temporary directory; point TMPDIR to one with room for the image")]
    Temporary(#[source] io::Error),
    /// The answer cannot be written as JSON.
    #[error("cannot form JSON")]
    Json(#[source] serde_json::Error),
    /// The answer cannot be written.
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

/// Runs a command on the instance whose registry listens at `registry`. The answer goes to `out`, progress to standard error.
///
/// # Errors
/// [`ImageError`].
pub(crate) async fn run(command: ImageCommand, registry: SocketAddr, out: &mut impl Write) -> Result<(), ImageError> {
    let instance = Registry::new(registry);
    let answer = match command {
        ImageCommand::Import(import) => import.run(&instance).await?,
        ImageCommand::List(list) => list.run(&instance).await?,
        ImageCommand::Rm(remove) => remove.run(&instance).await?,
        ImageCommand::Pack(pack) => pack.run(&instance).await?,
    };
    match writeln!(out, "{answer}") {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ImageError::Output(error)),
        _ => Ok(()),
    }
}

/// The running instance's registry.
struct Registry {
    address: SocketAddr,
    client: RegistryClient,
    /// Dropped last: the client's connections end with it.
    _running: ShutdownHandle,
}

impl Registry {
    fn new(address: SocketAddr) -> Self {
        let (running, shutdown) = Shutdown::new();
        let resolver = Arc::new(SystemResolver);
        let client = RegistryClient::new(&Tasks::new(shutdown), Clock::system(), resolver, ClientOptions::default());
        Self { address, client, _running: running }
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    /// Sends an image under all its names; says so in one line for each.
    async fn push(&self, done: &str, archive: &Arc<Archive>, image: &ArchiveImage) -> Result<String, ImageError> {
        let names: Vec<String> = image.names.iter().map(base_image::Reference::to_familiar).collect();
        let progress = Progress::start(&names.join(", "), image.total_bytes());
        let pushed = self.client.push_archive(&self.host(), archive, image, &progress.receiver()).await;
        progress.finish();
        pushed.map_err(|error| self.failed(format!("send {} to the instance", names.join(", ")), error))?;
        let (digest, size) = (image.manifest.digest, size(image.total_bytes()));
        Ok(names.iter().map(|name| format!("{done} {name} {digest} ({size})")).collect::<Vec<_>>().join("\n"))
    }

    fn failed(&self, action: String, error: FetchError) -> ImageError {
        let source = Box::new(error);
        match *source {
            FetchError::Connect { .. } => ImageError::Unreachable { registry: self.address, source },
            _ => ImageError::Registry { action, source },
        }
    }
}

/// An image's name, of the command line.
fn reference(text: &str) -> Result<base_image::Reference, ReferenceError> {
    text.parse()
}

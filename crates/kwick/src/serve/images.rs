//! The instance's images: the store, the registry over it, pulling, and the image that this program itself is.
//!
//! One image has one name in the store, [`REGISTRY_NAME`]`/…`, whichever of the registry's names it was pushed to. The program is its own
//! image, so that what runs as a role of this process has a name in Pods like any other. Which digests were ever this program's is kept in
//! `DIR/state/own-images.json`: only those may be roles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base_image::assemble::{ImageSpec, LayerTree, assemble_as};
use base_image::keychain::Anonymous;
use base_image::media_type::Compression;
use base_image::pull::Puller;
use base_image::reference::Reference;
use base_image::registry_client::{ClientOptions, FetchError, RegistryClient, SystemResolver};
use base_image::registry_server::{Access, Registry};
use base_image::store::Origin;
use base_image::{Digest, ImageConfig, OwnNames, Platform, Store};
use base_net::listen::Listener;
use base_net::serve::{Server, ServerConfig};
use base_net::{Body, Request, Response};
use base_rt::metrics::Scope;
use base_rt::{Clock, Phase};
use futures::future::BoxFuture;
use knative_serving::digest::{Access as Credentials, ResolveError, Resolver};
use kwick::assembly::Process;
use tower::ServiceExt;

use crate::exit::Refused;
use crate::instance::data_dir::{DataDir, write_durably};
use crate::instance::record::Record;

/// The registry's name in the cluster: the Service `registry` in `kwick-system`.
pub(super) const REGISTRY_NAME: &str = "registry.kwick-system.svc.cluster.local";
/// The program's entry in its own image.
pub(super) const ENTRY: &str = "/kwick";
/// The program, whatever has become of its file since.
const MYSELF: &str = "/proc/self/exe";
/// How often uploads that nobody goes on with are given up.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long a registry may take when a tag is asked for. The caller allows ten seconds and would not say whom it waited for.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(9);
/// How many letters may differ between a name and the one that was meant.
const MAX_TYPOS: usize = 2;

/// The image store and what works on it.
#[derive(Clone, Debug)]
pub(super) struct Images {
    pub(super) store: Store,
    pub(super) puller: Puller,
    registry: Registry,
}

/// The images that are this program.
#[derive(Clone, Debug)]
pub(super) struct OwnImages {
    /// The present one.
    pub(super) reference: Reference,
    /// All there ever were here.
    pub(super) digests: BTreeSet<Digest>,
}

impl Images {
    /// Opens the store.
    pub(super) fn open(dir: &DataDir, record: &Record, process: &Process) -> Result<Self> {
        let aliases = record.registry.into_iter().flat_map(|address| {
            let port = address.port();
            [address.to_string(), format!("127.0.0.1:{port}"), format!("localhost:{port}")]
        });
        let store = Store::open(&dir.join("images"), OwnNames::new(REGISTRY_NAME, aliases)).map_err(|error| {
            Refused::error(base_rt::error_chain(&error), "the message names the file; nothing was changed")
        })?;
        let options = ClientOptions { plain_http: record.plain_http_registries.clone(), ..ClientOptions::default() };
        let client = RegistryClient::new(&process.tasks, process.clock, Arc::new(SystemResolver), options);
        let puller = Puller::new(store.clone(), client, process.clock);
        let registry = Registry::new(store.clone(), process.clock, &Scope::root().sub("registry"));
        Ok(Self { store, puller, registry })
    }

    /// Serves the registry: the host's users may do everything, Pods may pull.
    pub(super) fn serve(&self, host: Vec<TcpListener>, pods: Vec<TcpListener>, process: &Process) -> Result<()> {
        let server = Server::new(ServerConfig::new("registry"), &process.tasks, &Scope::root());
        for (listeners, access) in [(host, Access::Full), (pods, Access::Pull)] {
            for listener in listeners {
                let listener = Listener::from_fd(listener.into()).context("cannot serve the registry")?;
                let registry = self.registry.clone();
                let service = move |_: &_| {
                    let service = registry.service(access);
                    ServiceExt::<Request>::map_response(service, |response| -> Response { response.map(Body::wrap) })
                };
                server.start(listener, service).context("cannot serve the registry")?;
            }
        }
        let (registry, shutdown) = (self.registry.clone(), process.tasks.shutdown().clone());
        process.tasks.spawn("registry/expire-uploads", async move {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Lame) => return Ok(()),
                    () = tokio::time::sleep(EXPIRE_EVERY) => registry.expire_uploads(),
                }
            }
        });
        Ok(())
    }

    /// Puts this program into the store, unless it is there. Blocks on the disk.
    pub(super) fn put_program(&self, dir: &DataDir, clock: Clock) -> Result<OwnImages> {
        let name = Reference::parse(&format!("{REGISTRY_NAME}/kwick:{}", env!("CARGO_PKG_VERSION")))?;
        let path = dir.join("state").join("own-images.json");
        let mut known = read_known(&path)?;
        let identity = identity()?;
        let stored = self.store.record(&name).map(|record| record.digest);
        let digest = match stored.filter(|digest| known.get(&digest.to_string()) == Some(&identity)) {
            Some(digest) => digest,
            None => {
                let digest = self.assemble_program(&name, clock)?;
                known.insert(digest.to_string(), identity);
                write_durably(&path, &serde_json::to_vec(&known)?, 0o600)?;
                digest
            }
        };
        let digests = known.keys().map(|text| text.parse().map_err(|error| damaged(&path, &error)));
        Ok(OwnImages { reference: name.with_digest(digest), digests: digests.collect::<Result<_>>()? })
    }

    fn assemble_program(&self, name: &Reference, clock: Clock) -> Result<Digest> {
        let mut layer = LayerTree::new();
        layer.add_file(ENTRY.trim_start_matches('/'), 0o755, Path::new(MYSELF)).context("cannot read this program")?;
        let config =
            ImageConfig { platform: Platform::host(), entrypoint: vec![ENTRY.to_owned()], ..ImageConfig::default() };
        let spec = ImageSpec { config, layers: vec![layer], compression: Compression::None };
        let record = assemble_as(&self.store, &spec, name, clock.now()).context("cannot store this program's image")?;
        Ok(record.digest)
    }
}

/// What tells this program's file from others without reading it: where it is, its size, when it was written.
fn identity() -> Result<String> {
    let file = std::fs::metadata(MYSELF).context("cannot look at this program")?;
    Ok(format!("{}-{}-{}-{}.{}", file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

/// The digests that were this program's here, and the file that each was made of.
fn read_known(path: &Path) -> Result<BTreeMap<String, String>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| damaged(path, &error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    Refused::error(
        format!("{} is damaged: {error}", path.display()),
        "restore it from a copy, or remove it: then it is made again, and pods that an earlier kwick binary made are replaced",
    )
}

/// What a person can do who expected an image to be here.
fn hint<'a>(image: &Reference, here: impl Iterator<Item = &'a Reference>) -> String {
    let last = |reference: &Reference| reference.repository().rsplit('/').next().unwrap_or_default().to_owned();
    let wanted = last(image);
    // Of a short name little may be misspelled.
    let typos = MAX_TYPOS.min(wanted.chars().count() / 3);
    let near = here.filter(|other| strsim::osa_distance(&wanted, &last(other)) <= typos);
    let near: BTreeSet<String> = near.map(Reference::to_familiar).collect();
    let ways = "`kwick image list` shows the images that are here, `kwick image import` adds one";
    match near.first() {
        Some(name) => format!("did you mean {name:?}? {ways}"),
        None => ways.to_owned(),
    }
}

impl Resolver for Images {
    fn resolve<'a>(&'a self, image: &'a Reference, _: &'a Credentials) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        Box::pin(async move {
            let resolved =
                tokio::time::timeout(RESOLVE_TIMEOUT, self.puller.resolve(image, &Anonymous, RESOLVE_TIMEOUT));
            let error = match resolved.await {
                Ok(Ok(digest)) => return Ok(digest),
                Ok(Err(error)) => error,
                Err(_) => {
                    FetchError::Timeout { registry: image.registry().to_owned(), seconds: RESOLVE_TIMEOUT.as_secs() }
                }
            };
            let records = self.store.records();
            let here = records.iter().filter(|record| record.origin == Origin::Local).map(|record| &record.reference);
            Err(format!("{}; {}", base_rt::error_chain(&error), hint(image, here)).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_met_with_what_is_here() {
        let here = ["hello", "registry.kwick-system.svc.cluster.local/team/greeter"].map(|name| name.parse().unwrap());
        let said = |image: &str| hint(&image.parse().unwrap(), here.iter());
        assert!(said("helo").starts_with("did you mean \"hello\"? "), "{}", said("helo"));
        assert!(said("127.0.0.1:5000/greter:v1").contains("team/greeter"), "{}", said("127.0.0.1:5000/greter:v1"));
        assert!(said("her").starts_with("`kwick image list`"), "{}", said("her"));
        assert!(said("postgres").starts_with("`kwick image list`"), "{}", said("postgres"));
    }
}

//! Images that cannot run: Knative's reason, a message to act on, and no harm to others.

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::bad_input::{failed, remove};
use super::images::Registry;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc, SERVICES};
use crate::place;

/// So that nobody waits ten minutes for the verdict.
const PROGRESS_DEADLINE: &str = "10s";
const SERVICE_REASONS: &[&str] = &["RevisionFailed", "RevisionMissing"];
/// As the kubelet names it: between two tries it says that it waits.
const PULL_REASONS: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

/// A digest that the registry does not have.
pub(super) fn bad_digest(kwick: &Instance<'_>) -> Result<String> {
    let registry = Registry::of(kwick)?;
    let image = format!("{}/hello@sha256:{}", registry.address(), "0".repeat(64));
    let neighbour = ksvc::host(&Ksvc::hello("beside").deploy(&kwick.api)?)?;
    create(kwick, "undigested", &image)?;
    let said = failed(kwick, "undigested", SERVICE_REASONS, PULL_REASONS)?;
    ksvc::greet(&kwick.gateway, &neighbour).context("a neighbour is disturbed")?;
    remove(kwick, &["undigested", "beside"])?;
    Ok(said)
}

/// An image for another kind of machine.
pub(super) fn wrong_architecture(kwick: &Instance<'_>) -> Result<String> {
    let registry = Registry::of(kwick)?;
    let hello = registry.image("library/hello", "latest", "?ns=docker.io")?;
    let mut config: Value = serde_json::from_slice(&hello.config)?;
    config["architecture"] = json!("s390x");
    let config = registry.push_blob("foreign", config.to_string().as_bytes())?;
    let mut manifest = hello.manifest;
    manifest["config"]["digest"] = json!(config.digest);
    manifest["config"]["size"] = json!(config.size);
    registry.push_manifest("foreign", "latest", &manifest)?;
    create(kwick, "foreign", &format!("{}/foreign", registry.address()))?;
    let said = failed(kwick, "foreign", SERVICE_REASONS, PULL_REASONS)?;
    ensure(said.contains("s390x"), || format!("the message does not say what it is for: {said}"))?;
    remove(kwick, &["foreign"])?;
    Ok(said)
}

/// A name that almost is one of an image here, at a registry that nobody reaches.
pub(super) fn misspelled(kwick: &Instance<'_>) -> Result<String> {
    // The machine may be online, and a public registry may have anything; port 1 of this one has nothing.
    Ksvc::hello("misspelled").image("127.0.0.1:1/helo").create(&kwick.api)?;
    let said = failed(kwick, "misspelled", SERVICE_REASONS, &["ContainerMissing"])?;
    ensure(said.contains("did you mean \"hello\"?"), || format!("no hint: {said}"))?;
    ensure(said.contains("127.0.0.1:1"), || format!("no cause: {said}"))?;
    remove(kwick, &["misspelled"])?;
    Ok(said)
}

/// A layer that the disk lost before it was unpacked: said, removed, and right again after another import.
pub(super) fn damaged(kwick: &Instance<'_>) -> Result<String> {
    // Its layer is no other image's: a program may have anything behind its end.
    let binary = kwick.folder().with_extension("other-hello");
    std::fs::copy(kwick.hello(), &binary)?;
    std::fs::OpenOptions::new().append(true).open(&binary)?.write_all(b"damaged")?;
    let binary = binary.display().to_string();
    let pack = || place::output(&mut kwick.kwick(&["image", "pack", &binary, "--name", "brittle", "--port", "8080"]));
    pack()?;
    let registry = Registry::of(kwick)?;
    let image = registry.image("library/brittle", "latest", "?ns=docker.io")?;
    let layer = image.layers.first().context("an image without layers")?;
    let blob = kwick.folder().join("images/blobs/sha256").join(layer.trim_start_matches("sha256:"));
    let mut bytes = std::fs::read(&blob).with_context(|| format!("cannot read {}", blob.display()))?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("an empty layer")? ^= 1;
    std::fs::OpenOptions::new().write(true).open(&blob)?.write_all(&bytes)?;
    create(kwick, "brittle", "brittle")?;
    let said = failed(kwick, "brittle", SERVICE_REASONS, PULL_REASONS)?;
    ensure(!blob.exists(), || "the damaged layer is still there".to_owned())?;
    pack().context("the image cannot be imported again")?;
    remove(kwick, &["brittle"])?;
    let host = ksvc::host(&Ksvc::hello("mended").image("brittle").deploy(&kwick.api)?)?;
    ksvc::greet(&kwick.gateway, &host)?;
    remove(kwick, &["mended"])?;
    Ok(format!("{said}; imported again, it runs"))
}

fn create(kwick: &Instance<'_>, name: &str, image: &str) -> Result<()> {
    let mut object = Ksvc::hello(name).image(image).object();
    object["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/progress-deadline"] =
        json!(PROGRESS_DEADLINE);
    kwick.api.create(SERVICES, &object).map(|_| ())
}

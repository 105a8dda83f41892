//! Images as files and in the registry: every kind of archive, every name, one digest.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::LeftOut;
use crate::api::text;
use crate::http::{Request, Target};
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::place;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The registry of a running instance.
pub(super) struct Registry(Target);

/// An image as the registry gives it.
pub(super) struct Image {
    /// The manifest as it was sent, and what it says.
    pub(super) bytes: Vec<u8>,
    pub(super) manifest: Value,
    /// The configuration's bytes.
    pub(super) config: Vec<u8>,
    /// The layers' digests.
    pub(super) layers: Vec<String>,
}

/// A blob that was pushed.
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) size: usize,
}

impl Registry {
    /// The one of this instance.
    pub(super) fn of(kwick: &Instance<'_>) -> Result<Self> {
        let status = kwick.status()?;
        let address = text(&status, "/addresses/registry").parse().context("kwick status names no registry")?;
        Ok(Self(Target::plain(address)))
    }

    /// Its address, as it stands in images' names.
    pub(super) fn address(&self) -> String {
        self.0.address.to_string()
    }

    /// An image with everything but its layers. `query` names another registry, as `?ns=…`.
    pub(super) fn image(&self, repository: &str, tag: &str, query: &str) -> Result<Image> {
        let bytes = self.get(&format!("/v2/{repository}/manifests/{tag}{query}"))?;
        let manifest: Value = serde_json::from_slice(&bytes).context("the manifest is no JSON")?;
        let config = self.get(&format!("/v2/{repository}/blobs/{}", text(&manifest, "/config/digest")))?;
        let layers = manifest.get("layers").and_then(Value::as_array).context("a manifest without layers")?;
        let layers = layers.iter().map(|layer| text(layer, "/digest").to_owned()).collect();
        Ok(Image { bytes, manifest, config, layers })
    }

    /// Pushes a blob.
    pub(super) fn push_blob(&self, repository: &str, bytes: &[u8]) -> Result<Blob> {
        let digest = digest(bytes);
        self.send(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/?digest={digest}"),
            "application/octet-stream",
            bytes,
        )?;
        Ok(Blob { digest, size: bytes.len() })
    }

    /// Pushes a manifest under a tag.
    pub(super) fn push_manifest(&self, repository: &str, tag: &str, manifest: &Value) -> Result<()> {
        let bytes = manifest.to_string();
        self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), MANIFEST, bytes.as_bytes()).map(|_| ())
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.send("GET", path, "application/json", b"")
    }

    fn send(&self, method: &str, path: &str, content: &str, body: &[u8]) -> Result<Vec<u8>> {
        let host = self.address();
        let headers = [("Host", host.as_str()), ("Accept", "*/*"), ("Content-Type", content)];
        let (status, body) = self.0.ask(&Request { method, path, headers: &headers, body })?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The sample's image as an OCI layout, an OCI archive and a docker archive: imported, listed, run, removed.
pub(super) fn from_files(kwick: &Instance<'_>) -> Result<String> {
    let registry = Registry::of(kwick)?;
    let image = registry.image("library/hello", "latest", "?ns=docker.io")?;
    let folder = kwick.folder().with_extension("archives");
    let (layout, docker) = (folder.join("layout"), folder.join("docker"));
    write_layout(&registry, &image, &layout)?;
    write_docker(&registry, &image, &docker)?;
    for name in ["layout", "docker"] {
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(folder.join(format!("{name}.tar"))).arg("-C").arg(folder.join(name)).arg(".");
        place::output(&mut tar)?;
    }
    let sources = [("from-layout", "layout"), ("from-oci", "layout.tar"), ("from-docker", "docker.tar")];
    for (name, file) in sources {
        let path = folder.join(file).display().to_string();
        // The docker archive brings its name along.
        let options: &[&str] = if name == "from-docker" { &[] } else { &["--name", name] };
        place::output(&mut kwick.kwick(&[&["image", "import", &path], options].concat()))
            .with_context(|| format!("the import of {file}"))?;
        let listed = place::output(&mut kwick.kwick(&["image", "list"]))?;
        ensure(listed.contains(name), || format!("{name} is not in {listed}"))?;
        let host = ksvc::host(&Ksvc::hello(name).image(name).deploy(&kwick.api)?)?;
        ksvc::greet(&kwick.gateway, &host)?;
        kwick.api.delete(&ksvc::path(name))?;
        place::output(&mut kwick.kwick(&["image", "rm", name]))?;
        let listed = place::output(&mut kwick.kwick(&["image", "list"]))?;
        ensure(!listed.contains(name), || format!("{name} is still in {listed}"))?;
    }
    let outcome = place::outcome(&mut kwick.kwick(&["image", "rm", "from-oci"]))?;
    ensure(!outcome.status.success(), || "an image that is not there was removed".to_owned())?;
    Ok("OCI layout, OCI archive, docker archive".to_owned())
}

fn write_layout(registry: &Registry, image: &Image, folder: &Path) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let write = |bytes: &[u8]| std::fs::write(blobs.join(digest(bytes).trim_start_matches("sha256:")), bytes);
    write(&image.bytes)?;
    write(&image.config)?;
    for layer in &image.layers {
        write(&registry.get(&format!("/v2/library/hello/blobs/{layer}"))?)?;
    }
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": MANIFEST, "digest": digest(&image.bytes), "size": image.bytes.len()},
    ]});
    std::fs::write(folder.join("index.json"), index.to_string())?;
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// As `docker save` writes it: each layer a file, and a list of names.
fn write_docker(registry: &Registry, image: &Image, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), &image.config)?;
    let mut layers = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let name = format!("{number}/layer.tar");
        std::fs::create_dir_all(folder.join(number.to_string()))?;
        std::fs::write(folder.join(&name), registry.get(&format!("/v2/library/hello/blobs/{layer}"))?)?;
        layers.push(name);
    }
    let list = json!([{"Config": "config.json", "RepoTags": ["from-docker:latest"], "Layers": layers}]);
    std::fs::write(folder.join("manifest.json"), list.to_string())?;
    Ok(())
}

/// As `docker push` and `ko` speak, which share crane's library or its protocol: push a layout, copy, put an index over it, pull.
pub(super) fn crane(kwick: &Instance<'_>) -> Result<String> {
    let crane = |args: &[&str]| place::output(&mut kwick.crane(args).ok_or(LeftOut("there is no crane"))?);
    crane(&["version"])?;
    let registry = Registry::of(kwick)?;
    let address = registry.address();
    let folder = kwick.folder().with_extension("crane");
    write_layout(&registry, &registry.image("library/hello", "latest", "?ns=docker.io")?, &folder)?;
    let [pushed, copied, index] = ["pushed:v1", "copied:v1", "index:v1"].map(|name| format!("{address}/crane/{name}"));
    crane(&["push", &folder.display().to_string(), &pushed])?;
    crane(&["copy", &pushed, &copied])?;
    let digest = crane(&["digest", &pushed])?;
    ensure(digest == crane(&["digest", &copied])?, || "the copy has another digest".to_owned())?;
    crane(&["index", "append", "-m", &pushed, "-t", &index])?;
    crane(&["pull", &copied, &folder.with_extension("tar").display().to_string()])?;
    // It validates gzip alone; the images of `kwick image pack` are of zstd.
    let files = folder.join("oci-layout").display().to_string();
    let (archive, zipped) =
        (folder.with_extension("files.tar").display().to_string(), format!("{address}/crane/zipped:v1"));
    place::output(Command::new("tar").args(["-cf", &archive, &files]))?;
    crane(&["append", "-f", &archive, "-t", &zipped])?;
    crane(&["validate", "--remote", &zipped])?;
    let listed = crane(&["ls", &format!("{address}/crane/pushed")])?;
    ensure(listed.trim() == "v1", || format!("its tags are {listed:?}"))?;
    for (name, image) in [("by-crane", &pushed), ("by-index", &index)] {
        let host = ksvc::host(&Ksvc::hello(name).image(image).deploy(&kwick.api)?)?;
        ksvc::greet(&kwick.gateway, &host)?;
        kwick.api.delete(&ksvc::path(name))?;
    }
    Ok(format!("pushed, copied, indexed, pulled {}", digest.trim()))
}

/// Pushed once, found under each of the registry's names, and the same content each time.
pub(super) fn one_image(kwick: &Instance<'_>) -> Result<String> {
    let registry = Registry::of(kwick)?;
    let port = registry.0.address.port();
    kwick.import_hello(&format!("localhost:{port}/team/hello"))?;
    let hosts =
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "registry.kwick-system.svc.cluster.local".into()];
    let mut digests = Vec::new();
    for (name, host) in ["by-address", "by-localhost", "by-service"].into_iter().zip(&hosts) {
        let object = Ksvc::hello(name).image(&format!("{host}/team/hello")).deploy(&kwick.api)?;
        ksvc::greet(&kwick.gateway, &ksvc::host(&object)?)?;
        let revision = format!("/apis/serving.knative.dev/v1/namespaces/default/revisions/{name}-00001");
        let revision = kwick.api.get(&revision)?.context("it has no revision")?;
        let image = text(&revision, "/status/containerStatuses/0/imageDigest").to_owned();
        ensure(image.starts_with(&format!("{host}/team/hello@sha256:")), || format!("{name} runs {image:?}"))?;
        digests.push(image.rsplit('@').next().unwrap_or_default().to_owned());
        kwick.api.delete(&ksvc::path(name))?;
    }
    ensure(digests.windows(2).all(|pair| matches!(pair, [one, other] if one == other)), || {
        format!("they are not the same: {digests:?}")
    })?;
    Ok(digests.first().cloned().unwrap_or_default())
}

//! Other people's tools against our registry and our archives. A tool that is not installed is skipped, and said so.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base_image::import::Archive;
use base_image::{Digest, Reference};

use crate::support::{named_image, runtime, store};

/// Runs `program` away from the runtime's threads; `None` if it is not installed.
async fn run(program: &'static str, arguments: Vec<String>) -> Option<String> {
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        command.args(&arguments).stdin(Stdio::null()).output().map(|output| (arguments, output))
    });
    match output.await.unwrap() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        outcome => {
            let (arguments, output) = outcome.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(text)
        }
    }
}

async fn skopeo(arguments: &[&str]) -> Option<String> {
    run("skopeo", arguments.iter().map(ToString::to_string).collect()).await
}

async fn crane(arguments: &[&str]) -> Option<String> {
    run("crane", arguments.iter().map(ToString::to_string).collect()).await
}

fn single_image(path: &Path) -> base_image::import::ArchiveImage {
    let name: Reference = "imported".parse().unwrap();
    Archive::open(path).unwrap().named_images(Some(&name)).unwrap().remove(0)
}

#[tokio::test]
async fn skopeo_pushes_pulls_and_writes_every_kind_of_archive() {
    let runtime = runtime();
    let (source, target) = (store(), store());
    let digest = named_image(&source.store, "own.example/hello");
    let source_server = runtime.serve(&source.store).await;
    let target_server = runtime.serve(&target.store).await;
    let from = format!("docker://{}/hello:latest", source_server.address);
    let to = format!("docker://{}/a/b:v1", target_server.address);
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copied = skopeo(&["copy", insecure[0], insecure[1], &from, &to]).await;
    if copied.is_none() {
        return;
    }
    let pushed = target.store.record(&"own.example/a/b:v1".parse().unwrap()).unwrap().digest;
    assert_eq!(pushed, digest);
    assert_eq!(target.store.image(pushed).unwrap().layers.len(), 2);
    let inspected = skopeo(&["inspect", "--tls-verify=false", &to]).await.unwrap();
    assert!(inspected.contains(&digest.to_string()), "{inspected}");
    let listed =
        skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{}/a/b", target_server.address)]).await.unwrap();
    assert!(listed.contains("\"v1\""), "{listed}");

    let dir = source.dir.path();
    let (layout, oci, docker) = (dir.join("skopeo-layout"), dir.join("oci.tar"), dir.join("docker.tar"));
    for (transport, path, tag) in
        [("oci", &layout, ":v1"), ("oci-archive", &oci, ":v1"), ("docker-archive", &docker, ":x/hello:v1")]
    {
        let destination = format!("{transport}:{}{tag}", path.display());
        skopeo(&["copy", insecure[0], &from, &destination]).await.unwrap();
    }
    assert_eq!(single_image(&layout).manifest.digest, digest);
    assert_eq!(single_image(&oci).manifest.digest, digest);
    let docker_archive = Arc::new(Archive::open(&docker).unwrap());
    let image = docker_archive.named_images(None).unwrap().remove(0);
    assert_eq!(image.names[0].to_string(), "docker.io/x/hello:v1");
    let nobody: base_image::registry_client::ProgressReceiver = Arc::new(|_| {});
    runtime.client().push_archive(&target_server.host(), &docker_archive, &image, &nobody).await.unwrap();
    let imported = target.store.image(image.manifest.digest).unwrap();
    let original = source.store.image(digest).unwrap();
    let diff_ids = |image: &base_image::Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<Digest>>();
    assert_eq!(diff_ids(&imported), diff_ids(&original));

    let deleted = skopeo(&["delete", "--tls-verify=false", &to]).await;
    assert!(deleted.is_some() && target.store.record(&"own.example/a/b:v1".parse().unwrap()).is_none());
}

#[tokio::test]
async fn skopeo_pulls_what_was_imported_through_the_mirror() {
    let runtime = runtime();
    let here = store();
    let digest = named_image(&here.store, "hello");
    let server = runtime.serve(&here.store).await;
    let config = here.dir.path().join("registries.conf");
    let mirror = format!(
        "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        server.address
    );
    std::fs::write(&config, mirror).unwrap();
    let layout = here.dir.path().join("mirrored");
    let config = config.display().to_string();
    let to = format!("oci:{}:x", layout.display());
    let copied = skopeo(&["--registries-conf", &config, "copy", "docker://docker.io/library/hello:latest", &to]).await;
    if copied.is_some() {
        assert_eq!(single_image(&layout).manifest.digest, digest);
    }
}

#[tokio::test]
async fn crane_pushes_copies_and_validates() {
    let runtime = runtime();
    let (source, target) = (store(), store());
    let digest = named_image(&source.store, "own.example/hello");
    let layout = source.export(digest);
    let server = runtime.serve(&target.store).await;
    let image = format!("{}/a/b:v1", server.address);
    if crane(&["push", &layout.display().to_string(), &image]).await.is_none() {
        return;
    }
    assert_eq!(crane(&["digest", &image]).await.unwrap().trim(), digest.to_string());
    crane(&["validate", "--remote", &image]).await.unwrap();
    crane(&["copy", &image, &format!("{}/c:v2", server.address)]).await.unwrap();
    crane(&["tag", &image, "v3"]).await.unwrap();
    let tags = crane(&["ls", &format!("{}/a/b", server.address)]).await.unwrap();
    assert_eq!(tags.split_whitespace().collect::<Vec<_>>(), ["v1", "v3"]);
    let repositories = crane(&["catalog", &server.host()]).await.unwrap();
    assert_eq!(repositories.split_whitespace().collect::<Vec<_>>(), ["a/b", "c"]);
    let tarball = target.dir.path().join("crane.tar");
    crane(&["pull", &image, &tarball.display().to_string()]).await.unwrap();
    let archive = Archive::open(&tarball).unwrap();
    let pulled = archive.named_images(Some(&"x".parse().unwrap())).unwrap().remove(0);
    assert_eq!(pulled.blobs.len(), 3);
    crane(&["delete", &format!("{}/a/b@{digest}", server.address)]).await.unwrap();
    assert!(target.store.repository("own.example", "a/b").is_empty());
}

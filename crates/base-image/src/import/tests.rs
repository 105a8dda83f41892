//! Archives as the tools write them, made here byte by byte, and archives that lie.

use std::fs;
use std::io::Write as _;

use base_rt::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::assemble::{ImageSpec, LayerTree, assemble};
use crate::config::ImageConfig;
use crate::media_type::{self, Compression};
use crate::own_names::OwnNames;
use crate::platform::Platform;
use crate::store::Store;
use crate::tar_stream::tests::Archive as Tar;

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

/// A small image's parts.
struct Parts {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Parts {
    fn new(text: &str, platform: Platform) -> Self {
        let layer = Tar::default().file("hello", text).end();
        let config = ImageConfig { platform, diff_ids: vec![Digest::of(&layer)], ..ImageConfig::default() };
        let config = config.to_json().unwrap();
        let manifest = json!({
            "schemaVersion": 2,
            "config": Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), config.len() as u64),
            "layers": [Descriptor::new(media_type::OCI_LAYER, Digest::of(&layer), layer.len() as u64)],
        });
        Self { layer, config, manifest: manifest.to_string().into_bytes() }
    }

    fn descriptor(&self, annotations: &Value) -> Value {
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(&self.manifest), "size": self.manifest.len(),
               "annotations": annotations})
    }

    /// The image's blobs as files of an OCI layout.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        [&self.layer, &self.config, &self.manifest]
            .map(|bytes| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.clone()))
            .into()
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), OwnNames::default()).unwrap();
    Fixture { dir, store }
}

fn layout(manifests: &Value, files: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
    [("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()), ("index.json".into(), index)]
        .into_iter()
        .chain(files)
        .collect()
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().fold(Tar::default(), |tar, (name, bytes)| tar.entry(name, b'0', bytes)).end()
}

impl Fixture {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn write_dir(&self, files: &[(String, Vec<u8>)]) -> PathBuf {
        let root = self.dir.path().join("layout");
        for (name, bytes) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        root
    }

    /// Imports everything in `path` and gives the names, having checked that the image is complete.
    fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<String>, ImportError> {
        let archive = Archive::open(path)?;
        let name = name.map(|name| name.parse().unwrap());
        let mut names = Vec::new();
        for image in archive.named_images(name.as_ref())? {
            let mut last = Progress::default();
            let records = into_store(&self.store, &archive, &image, Timestamp::UNIX_EPOCH, &mut |now| {
                assert!(now.done_bytes >= last.done_bytes && now.done_bytes <= now.total_bytes);
                last = now;
            });
            assert_eq!(last.done_bytes, image.total_bytes());
            for record in records.unwrap() {
                assert_eq!(self.store.image(record.digest).unwrap().layers.len(), 1);
                names.push(record.reference.to_familiar());
            }
        }
        Ok(names)
    }
}

fn hello() -> Parts {
    Parts::new("hello", Platform::host())
}

#[test]
fn an_oci_layout_as_a_directory_and_in_every_wrapping() {
    let fixture = fixture();
    let parts = hello();
    let files = layout(
        &json!([parts.descriptor(&json!({"io.containerd.image.name": "docker.io/library/hello:latest"}))]),
        parts.files(),
    );
    let archive = tar(&files);
    let mut gzip = crate::compress::Encoder::new(Vec::new(), Compression::Gzip).unwrap();
    gzip.write_all(&archive).unwrap();
    let paths = [
        fixture.write_dir(&files),
        fixture.write("oci.tar", &archive),
        fixture.write("oci.tar.gz", &gzip.finish().unwrap()),
    ];
    for path in paths {
        assert_eq!(fixture.import(&path, None).unwrap(), ["hello"], "{}", path.display());
    }
    assert_eq!(fixture.store.record(&"hello".parse().unwrap()).unwrap().digest, Digest::of(&parts.manifest));
}

#[test]
fn names_come_from_annotations_or_from_the_user() {
    let fixture = fixture();
    let parts = hello();
    let with = |annotations: &Value| {
        fixture.write("a.tar", &tar(&layout(&json!([parts.descriptor(annotations)]), parts.files())))
    };
    let path = with(&json!({"org.opencontainers.image.ref.name": "ghcr.io/a/b:v1"}));
    assert_eq!(fixture.import(&path, None).unwrap(), ["ghcr.io/a/b:v1"]);
    assert_eq!(fixture.import(&path, Some("c")).unwrap(), ["c"]);
    let path = with(&json!({"org.opencontainers.image.ref.name": "v1"}));
    let error = fixture.import(&path, None).unwrap_err().to_string();
    assert!(error.ends_with("gives its image no name (only the tag \"v1\"): name it with --name REFERENCE"), "{error}");
    assert_eq!(fixture.import(&path, Some("c:v1")).unwrap(), ["c:v1"]);
    let path = with(&json!({"io.containerd.image.name": "Bad Name"}));
    assert!(matches!(fixture.import(&path, None), Err(ImportError::Malformed { source: DocumentError::Name(_), .. })));
}

#[test]
fn several_names_and_several_images() {
    let fixture = fixture();
    let (one, two) = (hello(), Parts::new("two", Platform::host()));
    let named = |parts: &Parts, name: &str| parts.descriptor(&json!({"io.containerd.image.name": name}));
    let manifests = json!([
        named(&one, "docker.io/library/a:1"),
        named(&one, "docker.io/library/a:2"),
        named(&two, "docker.io/library/b:1")
    ]);
    let path = fixture.write("a.tar", &tar(&layout(&manifests, [one.files(), two.files()].concat())));
    assert_eq!(fixture.import(&path, None).unwrap(), ["a:1", "a:2", "b:1"]);
    let error = fixture.import(&path, Some("c")).unwrap_err().to_string();
    assert!(error.ends_with("holds 2 images (a:1, a:2, b:1): --name needs a file with one"), "{error}");
}

#[test]
fn of_several_platforms_this_machine_s_is_taken() {
    let fixture = fixture();
    let parts = hello();
    let mine = Platform::host();
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": Digest::of(b"absent"), "size": 1, "platform": {"os": "windows", "architecture": mine.architecture}},
        {"digest": Digest::of(&parts.manifest), "size": 1, "platform": mine},
    ]});
    let index = index.to_string().into_bytes();
    let entry = json!([{"mediaType": media_type::OCI_INDEX, "digest": Digest::of(&index), "size": index.len(),
                        "annotations": {"io.containerd.image.name": "docker.io/library/hello:latest"}}]);
    let files = [parts.files(), vec![(format!("blobs/sha256/{}", Digest::of(&index).hex()), index)]].concat();
    assert_eq!(fixture.import(&fixture.write("a.tar", &tar(&layout(&entry, files))), None).unwrap(), ["hello"]);

    let foreign = Parts::new("x", Platform { os: "plan9".into(), architecture: "mips".into(), variant: String::new() });
    let path = fixture.write("b.tar", &tar(&layout(&json!([foreign.descriptor(&json!({}))]), foreign.files())));
    let error = fixture.import(&path, Some("x")).unwrap_err();
    let text = base_rt::error_chain(&error);
    assert!(
        text.contains("no image in") && text.contains("the image is for plan9/mips, this machine runs linux/"),
        "{text}"
    );
}

fn docker_manifest(layers: &[&str]) -> Vec<u8> {
    json!([{"Config": "config.json", "RepoTags": ["hello:latest", "localhost/hello:v1"], "Layers": layers}])
        .to_string()
        .into_bytes()
}

#[test]
fn a_docker_archive_with_its_tags_links_and_compressed_layers() {
    let parts = hello();
    let mut gzip = crate::compress::Encoder::new(Vec::new(), Compression::Gzip).unwrap();
    gzip.write_all(&parts.layer).unwrap();
    let gzip = gzip.finish().unwrap();
    let plain = Tar::default()
        .entry("config.json", b'0', &parts.config)
        .entry("manifest.json", b'0', &docker_manifest(&["x/layer.tar"]))
        .entry("y/layer.tar", b'0', &parts.layer)
        .link("x/layer.tar", b'2', "../y/layer.tar");
    let compressed = Tar::default().entry("x/layer.tar", b'0', &gzip).entry("config.json", b'0', &parts.config).entry(
        "manifest.json",
        b'0',
        &docker_manifest(&["x/layer.tar"]),
    );
    for (archive, digest) in [(plain, Digest::of(&parts.layer)), (compressed, Digest::of(&gzip))] {
        let fixture = fixture();
        let path = fixture.write("docker.tar", &archive.end());
        assert_eq!(fixture.import(&path, None).unwrap(), ["hello", "localhost/hello:v1"]);
        let record = fixture.store.record(&"hello".parse().unwrap()).unwrap();
        let layer = &fixture.store.image(record.digest).unwrap().layers[0];
        assert_eq!((layer.digest, layer.diff_id), (digest, Digest::of(&parts.layer)));
    }
}

#[test]
fn lies_are_found_out() {
    let fixture = fixture();
    let parts = hello();
    let annotations = json!({"io.containerd.image.name": "docker.io/library/hello:latest"});
    let descriptor = json!([parts.descriptor(&annotations)]);
    let open = |files: Vec<(String, Vec<u8>)>| Archive::open(&fixture.write("a.tar", &tar(&files)));

    let mut files = layout(&descriptor, parts.files());
    files[3].1 = b"{}".to_vec();
    assert!(matches!(open(files), Err(ImportError::Malformed { source: DocumentError::Mismatch { .. }, .. })));
    let missing = layout(&descriptor, parts.files().split_off(1));
    assert!(matches!(open(missing), Err(ImportError::MissingPart { .. })));
    assert!(matches!(
        open(layout(&json!([]), vec![])),
        Err(ImportError::Platform { .. } | ImportError::NoImages { .. })
    ));
    assert!(matches!(open(vec![("a".into(), vec![])]), Err(ImportError::NoImages { .. })));
    let cut = tar(&layout(&descriptor, parts.files()));
    let path = fixture.write("cut.tar", &cut[..cut.len() / 2]);
    assert!(matches!(Archive::open(&path), Err(ImportError::Tar { .. } | ImportError::MissingPart { .. })));
    assert!(matches!(Archive::open(&fixture.write("text", &[b'x'; 600])), Err(ImportError::Tar { .. })));
    assert!(matches!(Archive::open(Path::new("/does/not/exist")), Err(ImportError::Read { .. })));

    let mut files = layout(&descriptor, parts.files());
    files[2].1[600] ^= 1;
    let path = fixture.write("bad-layer.tar", &tar(&files));
    let archive = Archive::open(&path).unwrap();
    let image = &archive.named_images(None).unwrap()[0];
    let error = into_store(&fixture.store, &archive, image, Timestamp::UNIX_EPOCH, &mut |_| {}).unwrap_err();
    assert!(base_rt::error_chain(&error).contains("expected was"), "{error}");
    assert!(fixture.store.records().is_empty());
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    let fixture = fixture();
    let parts = hello();
    let archive = tar(&layout(&json!([parts.descriptor(&json!({}))]), parts.files()));
    let path = fixture.dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = path.clone();
    let writer = std::thread::spawn(move || fs::write(writer, archive));
    assert_eq!(fixture.import(&path, Some("hello")).unwrap(), ["hello"]);
    writer.join().unwrap().unwrap();
}

#[test]
fn damage_anywhere_ends_without_panic() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let fixture = fixture();
    let parts = hello();
    let oci = tar(&layout(&json!([parts.descriptor(&json!({"io.containerd.image.name": "a"}))]), parts.files()));
    let docker = Tar::default()
        .entry("config.json", b'0', &parts.config)
        .entry("manifest.json", b'0', &docker_manifest(&["l.tar"]))
        .entry("l.tar", b'0', &parts.layer)
        .end();
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let damage = (any::<bool>(), any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>());
    let outcome = runner.run(&damage, |(is_oci, at, byte, length)| {
        let mut bytes = if is_oci { oci.clone() } else { docker.clone() };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(at + length.index(2 * bytes.len()));
        if let Ok(archive) = Archive::open(&fixture.write("damaged.tar", &bytes)) {
            let _ = archive.named_images(None);
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_docker_archive_s_lies_too() {
    let fixture = fixture();
    let parts = hello();
    let open = |manifest: &[u8]| {
        let archive = Tar::default().entry("config.json", b'0', &parts.config).entry("manifest.json", b'0', manifest);
        Archive::open(&fixture.write("a.tar", &archive.file("l.tar", "x").end()))
    };
    assert!(matches!(open(&docker_manifest(&["gone.tar"])), Err(ImportError::MissingPart { .. })));
    assert!(matches!(open(&docker_manifest(&["../../etc/passwd"])), Err(ImportError::MissingPart { .. })));
    assert!(matches!(
        open(&docker_manifest(&[])),
        Err(ImportError::Malformed { source: DocumentError::LayerCount { .. }, .. })
    ));
    assert!(matches!(open(b"{}"), Err(ImportError::Malformed { source: DocumentError::Json(_), .. })));
    assert!(matches!(open(b"[]"), Err(ImportError::NoImages { .. })));
}

#[test]
fn what_assemble_makes_can_be_exported_and_imported() {
    let fixture = fixture();
    let mut tree = LayerTree::new();
    tree.add_bytes("app", 0o755, "code").unwrap();
    let config = ImageConfig { platform: Platform::host(), ..ImageConfig::default() };
    let digest =
        assemble(&fixture.store, &ImageSpec { config, layers: vec![tree], compression: Compression::Zstd }).unwrap();
    let blobs = fixture.dir.path().join("store/blobs/sha256");
    let files = fs::read_dir(blobs).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (format!("blobs/sha256/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(&path).unwrap())
    });
    let index = json!([{"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1}]);
    let files = layout(&index, files.collect());
    let other = self::fixture();
    assert_eq!(other.import(&other.write("a.tar", &tar(&files)), Some("app")).unwrap(), ["app"]);
}

//! Assembled images: reproducible, complete, readable.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::own_names::OwnNames;
use crate::platform::Platform;
use crate::tar_stream::{Sequential, TarStream};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OwnNames::default()).unwrap();
    (dir, store)
}

fn spec(layers: Vec<LayerTree>, compression: Compression) -> ImageSpec {
    let config = ImageConfig { platform: Platform::host(), entrypoint: vec!["/app".into()], ..ImageConfig::default() };
    ImageSpec { config, layers, compression }
}

fn paths(store: &Store, digest: Digest) -> Vec<String> {
    let decoder = crate::compress::Decoder::new(store.open_blob(digest).unwrap()).unwrap();
    let mut stream = TarStream::new(Sequential(decoder));
    let mut paths = Vec::new();
    while let Some(entry) = stream.next_entry().unwrap() {
        assert_eq!((entry.uid, entry.gid, entry.mtime), (0, 0, 0));
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        paths.push(format!("{} {:o} {text}", String::from_utf8(entry.path).unwrap(), entry.mode));
    }
    paths
}

#[test]
fn equal_content_gives_equal_images_in_any_order() {
    let (_dir, store) = store();
    let tree = |paths: [&str; 3]| {
        let mut tree = LayerTree::new();
        for path in paths {
            tree.add_bytes(path, 0o644, path.trim_matches('/').as_bytes()).unwrap();
        }
        tree
    };
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let first = assemble(&store, &spec(vec![tree(["a/b", "c", "a/a"])], compression)).unwrap();
        let second = assemble(&store, &spec(vec![tree(["/c", "/a/a", "/a/b"])], compression)).unwrap();
        assert_eq!(first, second);
        let image = store.image(first).unwrap();
        let expected = ["a/ 755 ", "a/a 644 a/a", "a/b 644 a/b", "c 644 c"];
        assert_eq!(paths(&store, image.layers[0].digest), expected);
        assert_eq!(image.config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(image.layers[0].digest == image.layers[0].diff_id, compression == Compression::None);
    }
}

#[test]
fn a_directory_is_taken_with_its_links_and_modes() {
    let (dir, store) = store();
    let source = dir.path().join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("sub/file"), "text").unwrap();
    std::fs::write(source.join("run"), "code").unwrap();
    std::fs::set_permissions(source.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    symlink("sub/file", source.join("link")).unwrap();
    let mut tree = LayerTree::new();
    tree.add_tree("app", &source).unwrap();
    let digest = assemble(&store, &spec(vec![tree], Compression::Zstd)).unwrap();
    let layer = store.image(digest).unwrap().layers[0].digest;
    let expected = ["app/ 755 ", "app/link 777 ", "app/run 755 code", "app/sub/ 755 ", "app/sub/file 644 text"];
    assert_eq!(paths(&store, layer), expected);
}

#[test]
fn an_assembled_image_has_a_name() {
    let (_dir, store) = store();
    let reference: Reference = "kwick/hello".parse().unwrap();
    let record = assemble_as(&store, &spec(vec![], Compression::Zstd), &reference, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(store.record(&reference), Some(record));
}

#[test]
fn bad_paths_and_sources_are_named() {
    let mut tree = LayerTree::new();
    for path in ["", "/", "a/../b", "./a", "a//b"] {
        assert!(matches!(tree.add_bytes(path, 0o644, ""), Err(AssembleError::Path { .. })), "{path:?}");
    }
    let (_dir, store) = store();
    tree.add_file("a", 0o644, Path::new("/does/not/exist")).unwrap();
    let error = assemble(&store, &spec(vec![tree], Compression::None)).unwrap_err();
    assert_eq!(error.to_string(), "add /does/not/exist to the image");
}

#[test]
fn a_layout_is_an_archive_of_one_nameless_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = LayerTree::new();
    tree.add_bytes("app", 0o755, "x").unwrap();
    let digest = assemble_layout(dir.path(), &spec(vec![tree], Compression::Zstd)).unwrap();
    let archive = crate::import::Archive::open(dir.path()).unwrap();
    let images = archive.named_images(Some(&"hello".parse().unwrap())).unwrap();
    assert_eq!((images.len(), images[0].manifest.digest, images[0].blobs.len()), (1, digest, 2));
    assert!(archive.named_images(None).is_err());
}

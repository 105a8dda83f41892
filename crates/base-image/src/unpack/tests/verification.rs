//! Digests, sizes, compressions, and what a crash or a refusal leaves behind.

use super::*;

fn compress(archive: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
    encoder.write_all(archive).unwrap();
    encoder.finish().unwrap()
}

fn archive() -> Vec<u8> {
    Tar::default().file("f", "hello").end()
}

#[test]
fn every_compression_gives_the_same_layer() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let Some(fixture) = fixture() else { return };
        let blob = compress(&archive(), compression);
        let layer = layer_of(&archive(), &blob, &[]);
        let report = fixture.layers.unpack(&layer, &[], blob.as_slice(), &UnpackOptions::default()).unwrap();
        assert_eq!((report.entries, report.bytes), (1, archive().len() as u64));
        assert_eq!(fs::read_to_string(fixture.layers.root(layer.chain_id).join("f")).unwrap(), "hello");
        assert!(fixture.layers.contains(layer.chain_id));
    }
}

#[test]
fn what_follows_the_archive_is_verified_too() {
    let Some(fixture) = fixture() else { return };
    let padded = [archive(), vec![0; 20 * 512]].concat();
    fixture.try_unpack(&padded).unwrap();
}

#[test]
fn a_blob_that_is_not_what_it_should_be_is_refused() {
    let Some(fixture) = fixture() else { return };
    let blob = compress(&archive(), Compression::Gzip);
    let layer = layer_of(&archive(), &blob, &[]);
    let unpack =
        |layer: &Layer, blob: &[u8]| fixture.layers.unpack(layer, &[], blob, &UnpackOptions::default()).unwrap_err();

    let other = Layer { digest: Digest::of(b"other"), ..layer.clone() };
    assert!(matches!(unpack(&other, &blob), UnpackError::Digest { .. }));
    let other = Layer { diff_id: Digest::of(b"other"), ..layer.clone() };
    assert!(matches!(unpack(&other, &blob), UnpackError::DiffId { .. }));
    for size in [layer.size - 1, layer.size + 1] {
        let error = unpack(&Layer { size, ..layer.clone() }, &blob);
        assert!(
            matches!(error, UnpackError::Size { .. } | UnpackError::Read(_) | UnpackError::Archive(_)),
            "{error:?}"
        );
    }
    let mut damaged = blob.clone();
    damaged[20] ^= 0xff;
    unpack(&layer, &damaged);
    unpack(&layer, b"no archive at all, but some bytes of text");
    assert!(fixture.names_of("layers").is_empty());
}

#[test]
fn a_layer_needs_the_ones_below() {
    let Some(fixture) = fixture() else { return };
    let below = [Digest::of(b"absent")];
    let layer = layer_of(&archive(), &archive(), &below);
    let error = fixture.layers.unpack(&layer, &below, archive().as_slice(), &UnpackOptions::default()).unwrap_err();
    assert!(matches!(error, UnpackError::MissingBelow { .. }));
}

#[test]
fn layers_are_listed_kept_and_removed() {
    let Some(fixture) = fixture() else { return };
    let layer = layer_of(&archive(), &archive(), &[]);
    fixture.try_unpack(&archive()).unwrap();
    let again = fixture.layers.unpack(&layer, &[], io::empty(), &UnpackOptions::default()).unwrap();
    assert_eq!(again, UnpackReport::default(), "what is there is not read again");
    assert_eq!(fixture.layers.list().unwrap(), [layer.chain_id].into());
    fixture.layers.remove(layer.chain_id).unwrap();
    fixture.layers.remove(layer.chain_id).unwrap();
    assert!(fixture.names_of("layers").is_empty());
}

#[test]
fn what_a_crash_leaves_is_no_layer() {
    let Some(fixture) = fixture() else { return };
    fixture.try_unpack(&archive()).unwrap();
    let dir = fixture.dir.path().join("layers");
    let half = Digest::of(b"half");
    for name in [".new-abc", ".dead-abc", &half.hex()] {
        fs::create_dir_all(dir.join(name).join("fs/a")).unwrap();
    }
    assert!(!fixture.layers.contains(half));
    assert_eq!(fixture.layers.list().unwrap().len(), 1);
    fixture.layers.remove_leftovers().unwrap();
    assert!(!fixture.names_of("layers").iter().any(|name| name.starts_with('.')));
}

#[test]
fn the_directory_is_root_s_alone() {
    let Some(fixture) = fixture() else { return };
    let mode = fs::metadata(fixture.dir.path().join("layers")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

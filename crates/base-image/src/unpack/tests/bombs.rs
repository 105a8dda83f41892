//! Streams that are more, less or other than they say: compressed ones that grow or end early, headers that lie about what follows.

use super::*;

fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks a blob whose digests are right, with room for `bytes`, and checks that a refusal leaves nothing.
fn try_blob(fixture: &Fixture, archive: &[u8], blob: &[u8], bytes: u64) -> Result<UnpackReport, String> {
    let layer = layer_of(archive, blob, &[]);
    let options = UnpackOptions { limits: Limits { bytes, ..Limits::default() }, ..UnpackOptions::default() };
    let outcome = fixture.layers.unpack(&layer, &[], blob, &options);
    if outcome.is_err() {
        assert!(fixture.names_of("layers").is_empty());
    }
    outcome.map_err(|error| base_rt::error_chain(&error))
}

#[test]
fn every_compression_stops_at_the_bound() {
    let Some(fixture) = fixture() else { return };
    let archive = Tar::default().file("zeros", &"\0".repeat(8 << 20)).end();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let blob = compress(&archive, compression);
        let refused = try_blob(&fixture, &archive, &blob, 1 << 20).unwrap_err();
        assert!(refused.contains("larger than allowed"), "{compression:?}: {refused}");
        // What follows the end of the archive counts too.
        let padded = [Tar::default().file("f", "x").end(), vec![0; 8 << 20]].concat();
        let refused = try_blob(&fixture, &padded, &compress(&padded, compression), 1 << 20).unwrap_err();
        assert!(refused.contains("larger than allowed"), "{compression:?}: {refused}");
    }
}

#[test]
fn a_window_that_needs_too_much_memory_is_refused() {
    let Some(fixture) = fixture() else { return };
    // A frame without a content size that asks for a window of 2^41 bytes, then an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 0x01, 0x00, 0x00];
    let refused = try_blob(&fixture, b"", &frame, 1 << 20).unwrap_err();
    assert!(refused.contains("too much memory"), "{refused}");
}

#[test]
fn many_empty_parts_are_one_empty_stream() {
    let Some(fixture) = fixture() else { return };
    for compression in [Compression::Gzip, Compression::Zstd] {
        let archive = Tar::default().file("f", "x").end();
        let empty = compress(b"", compression);
        let blob = [empty.repeat(20_000), compress(&archive, compression), empty.repeat(20_000)].concat();
        let fixture_of_its_own = super::fixture().unwrap();
        assert_eq!(try_blob(&fixture_of_its_own, &archive, &blob, 1 << 20).unwrap().entries, 1);
    }
    assert!(fixture.names_of("layers").is_empty());
}

#[test]
fn a_stream_that_ends_early_is_no_layer() {
    let Some(fixture) = fixture() else { return };
    let archive = Tar::default().dir("d", 0o755).file("d/f", &"text ".repeat(500)).end();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let whole = compress(&archive, compression);
        for length in 1..whole.len() {
            let refused = try_blob(&fixture, &archive, &whole[..length], 1 << 20);
            assert!(refused.is_err(), "{compression:?} {length}");
        }
    }
}

#[test]
fn a_size_that_is_not_the_contents_is_found_out() {
    let Some(fixture) = fixture() else { return };
    let lie = |size| Tar::default().push(Tar::header(b"f", b'0', size), b"hello").file("g", "x").end();
    for size in [0, 513, 1 << 20, u64::from(u32::MAX), (1 << 33) - 1] {
        let archive = lie(size);
        assert!(try_blob(&fixture, &archive, &archive, 1 << 30).is_err(), "{size}");
    }
    // A size on what has no content takes nothing of what follows.
    let archive = Tar::default().push(Tar::header(b"d", b'5', 1 << 30), b"").file("d/g", "x").end();
    assert_eq!(try_blob(&fixture, &archive, &archive, 1 << 20).unwrap().entries, 2);
}

#[test]
fn headers_about_nothing_cost_nothing() {
    let Some(fixture) = fixture() else { return };
    let long_name = vec![b'x'; 4000];
    let flood = (0..5_000).fold(Tar::default(), |tar, number| match number % 3 {
        0 => tar.entry("././@LongLink", b'L', &long_name),
        1 => tar.pax(&[("path", &long_name), ("SCHILY.xattr.user.a", &long_name)]),
        _ => tar.entry("pax_global_header", b'g', &long_name),
    });
    let archive = flood.pax(&[("path", b"f")]).file("x", "x").end();
    assert_eq!(try_blob(&fixture, &archive, &archive, 1 << 30).unwrap().entries, 1);
    let path = fixture.layers.root(layer_of(&archive, &archive, &[]).chain_id).join("f");
    assert!(path.is_file());
}

#[test]
fn a_file_that_is_given_again_and_again_is_one() {
    let Some(fixture) = fixture() else { return };
    let again = |tar: Tar, number: usize| match number % 4 {
        0 => tar.file("x", "file"),
        1 => tar.dir("x", 0o755).file("x/below", "x"),
        2 => tar.link("x", b'2', "/etc"),
        _ => tar.file(".wh.x", ""),
    };
    let archive = (0..4_001).fold(Tar::default(), again).end();
    let entries = try_blob(&fixture, &archive, &archive, 1 << 30).unwrap().entries;
    assert_eq!(entries, 5_001);
    let root = fixture.layers.root(layer_of(&archive, &archive, &[]).chain_id);
    assert_eq!(fs::read_to_string(root.join("x")).unwrap(), "file");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn an_attribute_is_no_place_for_much() {
    let Some(fixture) = fixture() else { return };
    let archive = Tar::default().pax(&[("SCHILY.xattr.user.much", &[b'x'; 100_000])]).file("f", "").end();
    let refused = try_blob(&fixture, &archive, &archive, 1 << 30);
    // A file system without such attributes leaves it out instead.
    assert!(
        refused
            .as_ref()
            .map_or_else(|refused| refused.contains("set an extended attribute"), |report| report.skipped_xattrs == 1)
    );
    let malformed = Tar::default().pax(&[("SCHILY.xattr.security.capability", b"no capability")]).file("f", "").end();
    assert!(try_blob(&fixture, &malformed, &malformed, 1 << 30).is_err());
}

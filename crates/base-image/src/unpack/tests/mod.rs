//! Layers as builders make them and as attackers would. Ownership, whiteouts and marks need root; without it these tests are skipped.

mod bombs;
mod hostile;
mod stacking;
mod verification;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::*;
use crate::compress::Encoder;
use crate::media_type::Compression;
use crate::tar_stream::tests::Archive as Tar;

/// A place to unpack to, with something beside it that must not change.
struct Fixture {
    dir: tempfile::TempDir,
    layers: LayersDir,
    /// Chain ids of what was unpacked so far.
    below: Vec<Digest>,
}

/// Gives `None`, and says so, where the test cannot run.
fn fixture() -> Option<Fixture> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: unpacking needs root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/canary"), "alive").unwrap();
    let layers = LayersDir::open(&dir.path().join("layers")).unwrap();
    Some(Fixture { dir, layers, below: Vec::new() })
}

fn layer_of(archive: &[u8], blob: &[u8], below: &[Digest]) -> Layer {
    let diff_id = Digest::of(archive);
    let chain_id = below.last().map_or(diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
    Layer { digest: Digest::of(blob), size: blob.len() as u64, diff_id, chain_id }
}

impl Fixture {
    fn try_unpack(&self, archive: &[u8]) -> Result<PathBuf, UnpackError> {
        let layer = layer_of(archive, archive, &self.below);
        self.layers.unpack(&layer, &self.below, archive, &UnpackOptions::default())?;
        Ok(self.layers.root(layer.chain_id))
    }

    /// Unpacks above everything unpacked before.
    fn unpack(&mut self, archive: Tar) -> PathBuf {
        let archive = archive.end();
        let root = self.try_unpack(&archive).unwrap();
        self.below.push(layer_of(&archive, &archive, &self.below).chain_id);
        root
    }

    /// Unpacks what must be refused, and checks that nothing is left of it.
    fn refuse(&self, archive: Tar) -> UnpackError {
        let error = self.try_unpack(&archive.end()).expect_err("a refusal");
        self.check_intact();
        let unpacked = self.layers.list().unwrap().len();
        assert_eq!((unpacked, self.names_of("layers").len()), (self.below.len(), self.below.len()));
        error
    }

    fn names_of(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn check_intact(&self) {
        let mut names = self.names_of("");
        names.sort();
        assert_eq!(names, ["layers", "outside"]);
        assert_eq!(self.names_of("outside"), ["canary"]);
        let canary = self.dir.path().join("outside/canary");
        let metadata = fs::metadata(&canary).unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (1, 0o644));
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
    }

    fn outside(&self) -> String {
        self.dir.path().join("outside").to_str().unwrap().to_owned()
    }
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
}

fn is_marked_opaque(path: &Path) -> bool {
    xattr::get(path, "trusted.overlay.opaque").unwrap().is_some_and(|value| value == b"y")
}

fn owned(name: &str, kind: u8, mode: u32, owner: (u64, u64), mtime: u64) -> tar::Header {
    let mut header = Tar::header(name.as_bytes(), kind, 0);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(mtime);
    header
}

#[test]
fn nodes_have_their_content_and_attributes() {
    let Some(mut fixture) = fixture() else { return };
    let mut data = owned("bin/su", b'0', 0o4755, (0, 7), 1_700_000_000);
    data.set_size(4);
    let mut link = owned("bin/link", b'2', 0o777, (5, 6), 1_600_000_000);
    link.set_link_name_literal("/etc/../su").unwrap();
    let root = fixture.unpack(
        Tar::default()
            .push(owned("./", b'5', 0o711, (1, 2), 1_500_000_000), b"")
            .push(owned("bin/", b'5', 0o1777, (3, 4), 1_400_000_000), b"")
            .push(data, b"code")
            .push(link, b"")
            .link("bin/hard", b'1', "bin/su")
            .push(owned("pipe", b'6', 0o620, (8, 9), 1), b"")
            .entry("dev/null", b'3', b""),
    );
    let look = |path: &str| {
        let metadata = fs::symlink_metadata(root.join(path)).unwrap();
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), metadata.mtime())
    };
    assert_eq!(look(""), (0o711, 1, 2, 1_500_000_000));
    assert_eq!(look("bin"), (0o1777, 3, 4, 1_400_000_000));
    assert_eq!(look("bin/su"), (0o4755, 0, 7, 1_700_000_000));
    assert_eq!(look("bin/link"), (0o777, 5, 6, 1_600_000_000));
    assert_eq!(look("pipe"), (0o620, 8, 9, 1));
    assert_eq!(fs::read(root.join("bin/su")).unwrap(), b"code");
    assert_eq!(fs::read_link(root.join("bin/link")).unwrap(), Path::new("/etc/../su"));
    let inode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode("bin/su"), inode("bin/hard"));
    assert!(!root.join("dev").exists(), "a device that was left out makes no directory either");
}

#[test]
fn only_harmless_extended_attributes_are_set() {
    let Some(fixture) = fixture() else { return };
    // CAP_NET_BIND_SERVICE, permitted and effective, revision 2.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.user.note", b"hello"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/outside"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
    ];
    let archive = Tar::default().pax(&records).file("f", "").end();
    let layer = layer_of(&archive, &archive, &[]);
    let report = fixture.layers.unpack(&layer, &[], archive.as_slice(), &UnpackOptions::default()).unwrap();
    let path = fixture.layers.root(layer.chain_id).join("f");
    assert_eq!(xattr::get(&path, "security.capability").unwrap().unwrap(), capability);
    let mut names: Vec<_> = xattr::list(&path).unwrap().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let expected = ["security.capability", "user.note"];
    let has_user = names.len() == 2;
    assert_eq!(names, &expected[..names.len()], "a file system without user attributes leaves one out");
    assert_eq!(report.skipped_xattrs, if has_user { 3 } else { 4 });
}

#[test]
fn later_entries_win() {
    let Some(mut fixture) = fixture() else { return };
    let root = fixture.unpack(
        Tar::default()
            .file("a", "1")
            .file("a", "22")
            .file("b/c", "x")
            .file("b", "file")
            .file("d", "file")
            .dir("d", 0o700)
            .file("d/e", "y")
            .dir("d", 0o711)
            .link("s", b'2', "nowhere")
            .file("s", "z"),
    );
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "22");
    assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "file");
    assert_eq!(fs::read_to_string(root.join("d/e")).unwrap(), "y");
    assert_eq!(fs::metadata(root.join("d")).unwrap().mode() & 0o7777, 0o711);
    assert!(fs::symlink_metadata(root.join("s")).unwrap().is_file());
}

#[test]
fn whiteouts_and_marks_in_any_order() {
    let Some(mut fixture) = fixture() else { return };
    let root = fixture.unpack(
        Tar::default()
            .file("gone/.wh.x", "")
            .file("kept/f", "f")
            .file("kept/.wh.f", "")
            .file(".wh.new", "")
            .file("new/f", "f")
            .dir("again", 0o755)
            .file("again/f", "f")
            .file(".wh.again", "")
            .file(".wh.file", "")
            .file("file", "f")
            .file("opaque/f", "f")
            .file("opaque/.wh..wh..opq", "")
            .file(".wh..wh.plnk/1.2", ""),
    );
    assert!(is_whiteout(&root.join("gone/x")));
    assert_eq!(fs::read_to_string(root.join("kept/f")).unwrap(), "f");
    for dir in ["new", "again", "opaque"] {
        assert!(is_marked_opaque(&root.join(dir)) && root.join(dir).join("f").is_file(), "{dir}");
    }
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "f");
    assert!(!is_marked_opaque(&root.join("kept")));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 6);
}

#[test]
fn the_other_marks_are_used_when_asked_for() {
    let Some(fixture) = fixture() else { return };
    let archive = Tar::default().file("d/.wh..wh..opq", "").end();
    let layer = layer_of(&archive, &archive, &[]);
    let options = UnpackOptions { marks: OverlayMarks::User, ..UnpackOptions::default() };
    match fixture.layers.unpack(&layer, &[], archive.as_slice(), &options) {
        Err(UnpackError::Entry { .. }) => println!("skipped: this file system has no user.* attributes"),
        unpacked => {
            unpacked.unwrap();
            let dir = fixture.layers.root(layer.chain_id).join("d");
            assert_eq!(xattr::get(dir, "user.overlay.opaque").unwrap().unwrap(), b"y");
        }
    }
}

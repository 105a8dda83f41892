//! Layers above layers: what a layer takes from below, and what overlayfs then shows.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::*;

#[test]
fn a_directory_that_a_layer_does_not_describe_looks_as_below() {
    let Some(mut fixture) = fixture() else { return };
    fixture.unpack(
        Tar::default().push(owned("./", b'5', 0o711, (1, 1), 5), b"").push(owned("tmp/", b'5', 0o1777, (3, 4), 9), b""),
    );
    fixture.unpack(Tar::default().file("other", ""));
    let root = fixture.unpack(Tar::default().file("tmp/a/f", "x"));
    let look = |path: &str| {
        let metadata = fs::metadata(root.join(path)).unwrap();
        (metadata.mode() & 0o7777, metadata.uid())
    };
    assert_eq!((look(""), look("tmp"), look("tmp/a")), ((0o711, 1), (0o1777, 3), (0o755, 0)));
}

#[test]
fn a_path_follows_the_links_of_lower_layers() {
    let Some(mut fixture) = fixture() else { return };
    fixture.unpack(Tar::default().dir("usr/lib/", 0o750).link("lib", b'2', "usr/lib").link(
        "abs",
        b'2',
        "/usr/../../usr",
    ));
    let root = fixture.unpack(Tar::default().file("lib/f", "1").file("abs/lib/g", "2"));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(root.join("usr/lib/f")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("usr/lib/g")).unwrap(), "2");
    assert_eq!(fs::metadata(root.join("usr/lib")).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn a_hard_link_into_a_lower_layer_copies_the_file_up() {
    let Some(mut fixture) = fixture() else { return };
    let mut header = owned("d/f", b'0', 0o640, (3, 4), 1_400_000_000);
    header.set_size(5);
    fixture
        .unpack(Tar::default().push(owned("d/", b'5', 0o700, (9, 9), 1), b"").push(header, b"hello").file("gone", "x"));
    fixture.unpack(Tar::default().file(".wh.gone", "").file("h/.wh..wh..opq", ""));
    let root = fixture.unpack(Tar::default().link("e", b'1', "d/f"));
    let (copy, link) = (fs::metadata(root.join("d/f")).unwrap(), fs::metadata(root.join("e")).unwrap());
    assert_eq!(copy.ino(), link.ino());
    assert_eq!((link.mode() & 0o7777, link.uid(), link.mtime()), (0o640, 3, 1_400_000_000));
    assert_eq!(fs::read_to_string(root.join("e")).unwrap(), "hello");
    assert_eq!(fs::metadata(root.join("d")).unwrap().mode() & 0o7777, 0o700);
    for target in ["gone", "nowhere", "h/f"] {
        let error = fixture.refuse(Tar::default().link("e", b'1', target));
        assert!(matches!(error, UnpackError::Entry { source: EntryError::LinkTarget, .. }), "{target}: {error:?}");
    }
    let error = fixture.refuse(Tar::default().link("e", b'1', "d"));
    assert!(matches!(error, UnpackError::Entry { source: EntryError::LinkKind, .. }));
}

/// The names in `dir` of the layers stacked by overlayfs, mounted in a namespace of this thread; `None` where that is not allowed.
fn merged_names(fixture: &Fixture, dir: &'static str) -> Option<Vec<String>> {
    let lower: Vec<_> = fixture.below.iter().rev().map(|layer| fixture.layers.root(*layer)).collect();
    let lower = lower.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(":");
    let target = tempfile::tempdir().unwrap();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).ok()?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).ok()?;
        let options = format!("lowerdir={lower}");
        let mounted =
            mount(Some("overlay"), target.path(), Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()));
        if let Err(errno) = mounted {
            println!("skipped: overlayfs cannot be mounted here: {errno}");
            return None;
        }
        let entries = fs::read_dir(target.path().join(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        nix::mount::umount(target.path()).unwrap();
        Some(names)
    })
    .join()
    .unwrap()
}

#[test]
fn overlayfs_shows_what_the_specification_says() {
    let Some(mut fixture) = fixture() else { return };
    fixture.unpack(
        Tar::default()
            .file("a", "")
            .file("b", "")
            .file("d/old", "")
            .file("new/old", "")
            .file("again/old", "")
            .file("keep/old", ""),
    );
    fixture.unpack(
        Tar::default()
            .file(".wh.a", "")
            .file("d/.wh..wh..opq", "")
            .file("d/fresh", "")
            .file(".wh.new", "")
            .file("new/fresh", "")
            .file("again/fresh", "")
            .file(".wh.again", "")
            .file("keep/fresh", ""),
    );
    let Some(root) = merged_names(&fixture, "") else { return };
    assert_eq!(root, ["again", "b", "d", "keep", "new"]);
    for (dir, names) in [("d", &["fresh"][..]), ("new", &["fresh"]), ("again", &["fresh"]), ("keep", &["fresh", "old"])]
    {
        assert_eq!(merged_names(&fixture, dir).unwrap(), names, "{dir}");
    }
    fixture.unpack(Tar::default().file("keep/only", "").file(".wh..wh..opq", ""));
    assert_eq!(merged_names(&fixture, "").unwrap(), ["keep"]);
    assert_eq!(merged_names(&fixture, "keep").unwrap(), ["only"]);
}

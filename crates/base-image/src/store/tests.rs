//! The store's promises: verified content, complete records, nothing needed ever collected.

use std::io::Write as _;

use super::*;
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Index, Manifest};
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER};
use crate::platform::Platform;
use base_rt::Timestamp;

const OWN: &str = "registry.example";

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

fn own_names() -> OwnNames {
    OwnNames::new(OWN, ["127.0.0.1:5000"])
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), own_names()).unwrap();
    Fixture { dir, store }
}

impl Fixture {
    fn reopen(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = Store::open(dir.path(), own_names()).unwrap();
        Self { dir, store }
    }

    /// An image of one layer with content `text`; gives the manifest's digest.
    fn put_image(&self, text: &str, platform: Platform) -> Digest {
        let layer = self.store.put_blob(text.as_bytes()).unwrap();
        let config = ImageConfig { platform, diff_ids: vec![layer], ..ImageConfig::default() }.to_json().unwrap();
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::new(OCI_CONFIG, self.store.put_blob(&config).unwrap(), config.len() as u64),
            layers: vec![Descriptor::new(OCI_LAYER, layer, text.len() as u64)],
            subject: None,
            annotations: [].into(),
        };
        self.store.put_blob(&serde_json::to_vec(&manifest).unwrap()).unwrap()
    }

    fn set(&self, reference: &str, digest: Digest) -> Record {
        self.store.set_record(&reference.parse().unwrap(), digest, Origin::Local, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn digest_of(&self, reference: &str) -> Option<Digest> {
        self.store.record(&reference.parse().unwrap()).map(|record| record.digest)
    }

    fn collect(&self) -> GcReport {
        self.store.collect_garbage(Timestamp::MAX).unwrap()
    }
}

#[test]
fn a_blob_is_there_once_committed_and_verified() {
    let fixture = fixture();
    let mut writer = fixture.store.blob_writer(5).unwrap();
    writer.write(b"hel").unwrap();
    assert!(matches!(writer.write(b"lo!"), Err(BlobError::TooLarge { limit: 5 })));
    writer.write(b"lo").unwrap();
    let digest = writer.commit(Some(Digest::of(b"hello"))).unwrap();
    assert_eq!(fixture.store.read_blob(digest, 5).unwrap(), b"hello");
    assert_eq!(fixture.store.blob_size(digest), Some(5));
    assert!(matches!(fixture.store.read_blob(digest, 4), Err(BlobError::TooLarge { .. })));
    assert!(matches!(fixture.store.read_blob(Digest::of(b""), 4), Err(BlobError::Missing { .. })));
}

#[test]
fn wrong_content_and_given_up_writes_leave_nothing() {
    let fixture = fixture();
    let mut writer = fixture.store.blob_writer(9).unwrap();
    writer.write(b"hello").unwrap();
    let refused = writer.commit(Some(Digest::of(b"other")));
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })));
    drop(fixture.store.blob_writer(9).unwrap());
    for part in ["tmp", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(fixture.dir.path().join(part)).unwrap().count(), 0, "{part}");
    }
}

#[test]
fn damage_is_noticed() {
    let fixture = fixture();
    let digest = fixture.store.put_blob(b"hello").unwrap();
    assert!(!fixture.store.discard_if_damaged(digest).unwrap());
    for find in [
        |store: &Store, digest| store.read_blob(digest, 9).is_err(),
        |store: &Store, digest| store.discard_if_damaged(digest).unwrap(),
    ] {
        std::fs::write(fixture.store.blob_path(digest), b"jello").unwrap();
        assert!(find(&fixture.store, digest));
        assert_eq!(fixture.store.blob_size(digest), None, "it is gone");
        assert_eq!(fixture.store.put_blob(b"hello").unwrap(), digest, "and can come again");
        assert_eq!(fixture.store.read_blob(digest, 9).unwrap(), b"hello");
    }
}

#[test]
fn a_store_has_one_process() {
    let fixture = fixture();
    let second = Store::open(fixture.dir.path(), OwnNames::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[test]
fn records_survive_and_follow_every_own_name() {
    let fixture = fixture();
    let digest = fixture.put_image("a", Platform::host());
    assert_eq!(fixture.set("127.0.0.1:5000/a", digest).reference.to_string(), "registry.example/a:latest");
    let fixture = fixture.reopen();
    for name in ["127.0.0.1:5000/a", "registry.example:80/a:latest", &format!("registry.example/a@{digest}")] {
        assert_eq!(fixture.digest_of(name), Some(digest), "{name}");
    }
    assert_eq!(fixture.digest_of("a"), None);
    assert_eq!(fixture.store.repository("127.0.0.1:5000", "a").len(), 2);
}

#[test]
fn leftovers_of_a_crash_are_removed_and_damage_is_named() {
    let fixture = fixture();
    std::fs::write(fixture.dir.path().join("tmp/half"), b"half").unwrap();
    let fixture = fixture.reopen();
    assert_eq!(std::fs::read_dir(fixture.dir.path().join("tmp")).unwrap().count(), 0);
    let Fixture { dir, store } = fixture;
    drop(store);
    std::fs::write(dir.path().join("refs/x.json"), b"{").unwrap();
    let error = Store::open(dir.path(), OwnNames::default()).unwrap_err();
    assert!(error.to_string().contains("x.json is damaged: remove this file"), "{error}");
}

#[test]
fn a_record_needs_everything_it_leads_to() {
    let fixture = fixture();
    let manifest = fixture.put_image("a", Platform::host());
    let layer = Digest::of(b"a");
    std::fs::remove_file(fixture.store.blob_path(layer)).unwrap();
    let incomplete = fixture.store.set_record(&"a".parse().unwrap(), manifest, Origin::Local, Timestamp::UNIX_EPOCH);
    assert!(matches!(incomplete, Err(RefError::Incomplete { digest, .. }) if digest == layer));
    let no_manifest = fixture.store.put_blob(b"{}").unwrap();
    let refused = fixture.store.set_record(&"a".parse().unwrap(), no_manifest, Origin::Local, Timestamp::UNIX_EPOCH);
    assert!(matches!(refused, Err(RefError::Parse { .. })));
    assert!(fixture.store.records().is_empty());
}

#[test]
fn moving_a_tag_keeps_the_older_content_by_digest() {
    let fixture = fixture();
    let (old, new) = (fixture.put_image("old", Platform::host()), fixture.put_image("new", Platform::host()));
    fixture.set("a", old);
    fixture.set("a", new);
    assert_eq!(fixture.digest_of("a"), Some(new));
    assert_eq!(fixture.digest_of(&format!("a@{old}")), Some(old));
    assert_eq!(fixture.collect(), GcReport { live: 6, ..GcReport::default() });
}

#[test]
fn removing_an_image_removes_its_own_record_with_the_last_tag() {
    let fixture = fixture();
    let digest = fixture.put_image("a", Platform::host());
    let remove = |name: &str| fixture.store.remove_image(&name.parse().unwrap()).unwrap();
    fixture.set("a:1", digest);
    fixture.set("a:2", digest);
    assert!(remove("a:1"));
    assert_eq!(fixture.store.records().len(), 2);
    assert!(remove("a:2") && !remove("a:2"));
    assert!(fixture.store.records().is_empty());
    fixture.set("a:1", digest);
    assert!(remove(&format!("a@{digest}")));
    assert!(fixture.store.records().is_empty());
    assert!(fixture.reopen().store.records().is_empty());
}

#[test]
fn copies_that_nobody_uses_are_forgotten() {
    let fixture = fixture();
    let (used, unused) = (fixture.put_image("used", Platform::host()), fixture.put_image("unused", Platform::host()));
    for (name, digest, origin) in
        [("a", used, Origin::Pulled), ("b", unused, Origin::Pulled), ("c", unused, Origin::Local)]
    {
        fixture.store.set_record(&name.parse().unwrap(), digest, origin, Timestamp::UNIX_EPOCH).unwrap();
    }
    let forget = |before| fixture.store.forget_pulled(before, &[used].into()).unwrap();
    assert_eq!((forget(Timestamp::UNIX_EPOCH), forget(Timestamp::MAX)), (0, 2));
    assert_eq!(
        (fixture.digest_of("a"), fixture.digest_of("b"), fixture.digest_of("c")),
        (Some(used), None, Some(unused))
    );
}

#[test]
fn garbage_is_what_nothing_needs_and_is_old() {
    let fixture = fixture();
    let digest = fixture.put_image("a", Platform::host());
    fixture.set("a", digest);
    fixture.store.put_blob(b"garbage").unwrap();
    let now = Timestamp::try_from(std::fs::metadata(fixture.dir.path()).unwrap().modified().unwrap()).unwrap();
    assert_eq!(fixture.store.collect_garbage(now).unwrap(), GcReport { live: 3, young: 1, ..GcReport::default() });
    assert_eq!(fixture.collect(), GcReport { live: 3, removed: 1, freed_bytes: 7, ..GcReport::default() });
    fixture.store.remove_image(&"a".parse().unwrap()).unwrap();
    assert_eq!(fixture.collect().removed, 3);
}

#[test]
fn a_lease_keeps_a_manifest_with_its_parts() {
    let fixture = fixture();
    let digest = fixture.put_image("a", Platform::host());
    let lease = fixture.store.lease_blobs([digest]);
    assert_eq!(fixture.collect().removed, 0);
    drop(lease);
    assert_eq!(fixture.collect().removed, 3);
}

#[test]
fn a_layer_that_is_being_removed_cannot_be_leased() {
    let fixture = fixture();
    let (kept, dead) = (fixture.put_image("kept", Platform::host()), fixture.put_image("dead", Platform::host()));
    fixture.set("kept", kept);
    let (kept, dead) = (fixture.store.image(kept).unwrap(), fixture.store.image(dead).unwrap());
    let present = || [&kept, &dead].map(|image| image.layers[0].chain_id);

    let lease = fixture.store.lease_image(&dead).unwrap();
    assert!(fixture.store.sweep_layers(present()).unwrap().dead().is_empty());
    drop(lease);
    let sweep = fixture.store.sweep_layers(present()).unwrap();
    assert_eq!(sweep.dead().iter().copied().collect::<Vec<_>>(), [dead.layers[0].chain_id]);
    assert!(fixture.store.lease_image(&dead).is_err() && fixture.store.lease_image(&kept).is_ok());
    drop(sweep);
    assert!(fixture.store.lease_image(&dead).is_ok());
}

#[test]
fn an_index_leads_to_this_machine_s_image() {
    let fixture = fixture();
    let other = Platform { os: "plan9".into(), architecture: "mips".into(), variant: String::new() };
    let mine = fixture.put_image("mine", Platform::host());
    let manifests = [(Digest::of(b"absent"), &other), (mine, &Platform::host())]
        .map(|(digest, platform)| Descriptor { platform: Some(platform.clone()), ..Descriptor::new("", digest, 1) });
    let index = Index {
        schema_version: 2,
        media_type: Some(OCI_INDEX.into()),
        artifact_type: None,
        manifests: manifests.into(),
        subject: None,
        annotations: [].into(),
    };
    let index = fixture.store.put_blob(&serde_json::to_vec(&index).unwrap()).unwrap();
    fixture.set("a", index);
    assert_eq!(fixture.store.image(index).unwrap().digest, mine);
    assert!(matches!(
        fixture.store.image_for(index, &Platform { os: "x".into(), ..other.clone() }),
        Err(LoadError::Platform { .. })
    ));
    assert_eq!(fixture.collect().live, 4);

    let foreign = fixture.put_image("foreign", other);
    assert!(matches!(fixture.store.image(foreign), Err(LoadError::Platform { .. })));
}

#[tokio::test]
async fn a_sink_writes_from_a_task() {
    let fixture = fixture();
    let sink = BlobSink::new(fixture.store.blob_writer(10).unwrap());
    assert!(sink.write("hello".into()).await);
    assert_eq!(sink.commit(None).await.unwrap(), Digest::of(b"hello"));
    let sink = BlobSink::new(fixture.store.blob_writer(3).unwrap());
    sink.write("hello".into()).await;
    assert!(matches!(sink.commit(None).await, Err(BlobError::TooLarge { limit: 3 })));
}

#[test]
fn a_writer_is_a_plain_write_too() {
    let fixture = fixture();
    let mut writer = fixture.store.blob_writer(3).unwrap();
    assert!(writer.write_all(b"four").is_err());
}

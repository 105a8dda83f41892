//! The store's promises under random work: watches miss nothing, acknowledged writes survive, revisions never go back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};

use base_rt::metrics::Scope;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::journal::memory::{CrashPoint, MemoryDisk};
use super::journal::sqlite::SqliteJournal;
use super::*;

/// What a table holds, as a client would model it.
type Model = BTreeMap<String, (u64, String)>;

fn table() -> TableName {
    TableName::from("things")
}

fn open(disk: &MemoryDisk) -> Store {
    let store = Store::open(disk.journal(), &Scope::root()).expect("open");
    store.ensure_table(&table());
    store
}

fn write(key: &str, expected: Expected, durability: Durability, is_deletion: bool) -> Write {
    Write { table: table(), key: ObjectKey::from(key), expected, durability, is_deletion, max_bytes: usize::MAX }
}

fn body(text: &str) -> impl FnOnce(Revision) -> NewBody {
    move |revision| NewBody { body: format!("{revision}:{text}").into_bytes(), labels: Labels::default(), shape: 0 }
}

fn text_of(object: &Stored) -> String {
    String::from_utf8(object.body.to_vec()).expect("text")
}

fn contents(store: &Store) -> Model {
    let objects = store.list(&table(), "").objects;
    objects.iter().map(|object| (object.key.to_string(), (object.revision.0, text_of(object)))).collect()
}

fn apply(model: &mut Model, event: &Event) {
    let key = event.object.key.to_string();
    match event.change {
        Change::Deleted => assert!(model.remove(&key).is_some(), "deleted what was not there"),
        Change::Added => {
            assert!(model.insert(key, (event.revision().0, text_of(&event.object))).is_none(), "added twice");
        }
        Change::Modified => {
            let before =
                model.insert(key, (event.revision().0, text_of(&event.object))).expect("modified what was not there");
            assert_eq!(event.previous.as_ref().map(|object| object.revision.0), Some(before.0));
        }
    }
}

/// Keys and texts, without revisions.
fn texts(model: &Model) -> BTreeMap<String, String> {
    let text = |stored: &str| stored.split_once(':').map_or(String::new(), |(_, text)| text.to_owned());
    model.iter().map(|(key, (_, stored))| (key.clone(), text(stored))).collect()
}

/// A random write that is valid in the store's present state.
fn draw(store: &Store, rng: &mut SmallRng) -> Write {
    let key = format!("ns{}/n{}", rng.random_range(0..2), rng.random_range(0..6));
    let durability = if rng.random_bool(0.3) { Durability::Lazy } else { Durability::Durable };
    let head = store.head(&table(), &ObjectKey::from(key.as_str()));
    let (expected, is_deletion) = match head.object {
        None => (Expected::Absent, false),
        Some(object) => (Expected::At(object.revision), rng.random_bool(0.3)),
    };
    write(&key, expected, durability, is_deletion)
}

#[tokio::test]
async fn a_watch_resumed_anywhere_sees_exactly_the_writes() {
    for seed in 0..30 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let store = open(&MemoryDisk::new());
        let mut past: Vec<(Revision, Model)> = vec![(store.revision(), contents(&store))];
        for step in 0..200 {
            store.commit(draw(&store, &mut rng), body(&step.to_string())).await.expect("write");
            past.push((store.revision(), contents(&store)));
        }
        for _ in 0..20 {
            let (revision, model) = &past[rng.random_range(0..past.len())];
            let mut model = model.clone();
            let mut watcher = store.watch(&table(), *revision).expect("within the history");
            let mut last = *revision;
            for event in watcher.poll().expect("not expired").events {
                assert!(event.revision() > last, "out of order");
                last = event.revision();
                apply(&mut model, &event);
            }
            assert_eq!(model, contents(&store), "seed {seed} from {revision}");
            let then = store.list_at(&table(), "ns1/", *revision).expect("within the history");
            let wanted: Vec<_> = past
                .iter()
                .find(|(at, _)| at == revision)
                .expect("recorded")
                .1
                .iter()
                .filter(|(key, _)| key.starts_with("ns1/"))
                .map(|(_, (at, _))| *at)
                .collect();
            assert_eq!(then.objects.iter().map(|object| object.revision.0).collect::<Vec<_>>(), wanted);
        }
    }
}

#[tokio::test]
async fn a_crash_between_any_two_writes_loses_nothing_acknowledged() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = MemoryDisk::new();
        let mut highest = Revision(0);
        let mut durable = Model::new();
        for life in 0..4 {
            let store = open(&disk);
            assert!(store.revision() >= highest, "seed {seed}: revisions went back");
            assert_eq!(contents(&store), durable, "seed {seed} life {life}");
            let point = if rng.random_bool(0.5) { CrashPoint::Before } else { CrashPoint::After };
            disk.crash_at(rng.random_range(1..20), point);
            // What the disk holds if the write under way reached it.
            let mut attempted = BTreeMap::new();
            for step in 0.. {
                let mut appends = disk.appends();
                if rng.random_bool(0.1) {
                    let before = contents(&store);
                    store.flush();
                    if disk.appends() > appends && futures::FutureExt::now_or_never(store.failed()).is_none() {
                        durable = before;
                    }
                    appends = disk.appends();
                }
                let write = draw(&store, &mut rng);
                let text = format!("{life}.{step}");
                let written = store.commit(write.clone(), body(&text)).await;
                highest = highest.max(store.revision());
                attempted = texts(&contents(&store));
                if write.is_deletion {
                    attempted.remove(write.key.as_str());
                } else {
                    attempted.insert(write.key.to_string(), text);
                }
                let Ok(object) = written else { break };
                assert!(store.revision() >= object.revision, "acknowledged before it is visible");
                if disk.appends() > appends {
                    // Everything up to here went to disk in one batch.
                    durable = contents(&store);
                }
            }
            assert!(store.commit(draw(&store, &mut rng), body("x")).await.is_err(), "a dead store accepts nothing");
            let last_seen = texts(&contents(&store));
            drop(store);
            let after = open(&disk);
            let found = contents(&after);
            assert!(after.revision() >= highest, "seed {seed}: revisions went back");
            match point {
                CrashPoint::Before => assert_eq!(found, durable, "seed {seed} life {life}"),
                // The batch that died had reached the disk: with the last write, or, if it was a flush, without.
                CrashPoint::After => {
                    let found = texts(&found);
                    assert!(found == attempted || found == last_seen, "seed {seed} life {life}: {found:?}");
                }
            }
            durable = found;
            after.close();
        }
    }
}

#[tokio::test]
async fn lazy_writes_are_visible_at_once_and_durable_with_the_next_batch() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    store.commit(write("a", Expected::Absent, Durability::Durable, false), body("1")).await.expect("write");
    let appends = disk.appends();
    store.commit(write("b", Expected::Absent, Durability::Lazy, false), body("2")).await.expect("write");
    assert_eq!(disk.appends(), appends);
    assert!(store.get(&table(), &"b".into()).is_some());
    disk.crash();
    let store = open(&disk);
    assert!(store.get(&table(), &"b".into()).is_none());
    store.commit(write("b", Expected::Absent, Durability::Lazy, false), body("3")).await.expect("write");
    store.commit(write("c", Expected::Absent, Durability::Durable, false), body("4")).await.expect("write");
    disk.crash();
    let store = open(&disk);
    assert!(store.get(&table(), &"b".into()).is_some());
    let lost = store.revision();
    assert!(store.watch(&table(), Revision(lost.0 - 1)).is_err(), "a watch from before the restart gets 410");
    assert!(store.watch(&table(), lost).is_ok());
}

#[tokio::test]
async fn expectations_hold_against_the_newest_state() {
    let store = open(&MemoryDisk::new());
    let made = store.commit(write("a", Expected::Absent, Durability::Durable, false), body("1")).await.expect("write");
    let again = store.commit(write("a", Expected::Absent, Durability::Durable, false), body("2")).await;
    assert!(matches!(again, Err(CommitError::Exists)));
    let stale = store.commit(write("a", Expected::At(Revision(0)), Durability::Durable, false), body("2")).await;
    assert!(matches!(stale, Err(CommitError::Conflict(at)) if at == made.revision));
    let absent = store.commit(write("b", Expected::At(made.revision), Durability::Durable, true), body("2")).await;
    assert!(matches!(absent, Err(CommitError::Missing)));
    let nowhere = Write { table: "others".into(), ..write("a", Expected::Absent, Durability::Durable, false) };
    assert!(matches!(store.commit(nowhere, body("2")).await, Err(CommitError::NoTable)));
}

#[tokio::test]
async fn who_falls_behind_gets_410_and_delays_nobody() {
    let store = open(&MemoryDisk::new());
    let mut slow = store.watch(&table(), store.revision()).expect("watch");
    for step in 0..=HISTORY_MAX_EVENTS {
        let key = format!("k{step}");
        store.commit(write(&key, Expected::Absent, Durability::Lazy, false), body("x")).await.expect("write");
    }
    assert!(slow.changed().await);
    assert!(slow.poll().is_err());
}

#[tokio::test]
async fn a_reader_never_sees_a_revision_before_the_writes_up_to_it() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = SqliteJournal::open(&dir.path().join("store.db")).expect("open");
    let store = Store::open(Box::new(journal), &Scope::root()).expect("open");
    store.ensure_table(&table());
    let writes = (0..64).map(|n| {
        let durability = if n % 3 == 0 { Durability::Lazy } else { Durability::Durable };
        let store = store.clone();
        async move {
            let key = format!("k{n}");
            let object =
                store.commit(write(&key, Expected::Absent, durability, false), body("x")).await.expect("write");
            assert!(store.revision() >= object.revision, "acknowledged before it is visible");
        }
    });
    let mut watcher = store.watch(&table(), store.revision()).expect("watch");
    futures::future::join_all(writes).await;
    let mut seen = Vec::new();
    while seen.len() < 64 {
        seen.extend(watcher.poll().expect("not expired").events.iter().map(|event| event.revision().0));
        if seen.len() < 64 {
            assert!(watcher.changed().await);
        }
    }
    assert!(seen.is_sorted() && seen.len() == 64);
    store.close();
    drop(store);
    let journal = SqliteJournal::open(&dir.path().join("store.db")).expect("open");
    let store = Store::open(Box::new(journal), &Scope::root()).expect("open");
    assert_eq!(store.count(&table()), 64);
    assert_eq!(store.revision().0, 64, "after an orderly end the revisions go on without a leap");
}

/// Not a test of its own: the child that [`kill_9_loses_no_acknowledged_write`] kills. It reads the file's path from its standard input.
#[tokio::test]
#[ignore = "run as a child process by kill_9_loses_no_acknowledged_write"]
async fn child_that_writes_until_it_is_killed() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).expect("path");
    let journal = SqliteJournal::open(std::path::Path::new(path.trim())).expect("open");
    let store = Store::open(Box::new(journal), &Scope::root()).expect("open");
    store.ensure_table(&table());
    let mut out = std::io::stdout();
    writeln!(out, "\nstart {}", store.revision()).expect("report");
    for step in 0_u64.. {
        let key = format!("k{}", step % 7);
        let head = store.head(&table(), &ObjectKey::from(key.as_str()));
        let expected = head.object.map_or(Expected::Absent, |object| Expected::At(object.revision));
        let lazy = store.commit(write(&format!("lazy{step}"), Expected::Absent, Durability::Lazy, false), body("x"));
        let _ = lazy.await;
        let object = store.commit(write(&key, expected, Durability::Durable, false), body("x")).await.expect("write");
        writeln!(out, "wrote {key} {}", object.revision).expect("report");
        out.flush().expect("report");
    }
}

#[test]
fn kill_9_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("store.db");
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let mut highest = 0;
    for round in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "store::tests::child_that_writes_until_it_is_killed"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("child");
        writeln!(child.stdin.take().expect("input"), "{}", path.display()).expect("path");
        let mut lines = BufReader::new(child.stdout.take().expect("output")).lines().map_while(Result::ok);
        let mut wrote = 0;
        while wrote < 20 + round * 13 {
            let line = lines.next().expect("the child lives");
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["start", revision] => {
                    assert!(revision.parse::<u64>().expect("number") >= highest, "revisions went back")
                }
                ["wrote", key, revision] => {
                    highest = revision.parse().expect("number");
                    acknowledged.insert(key.to_owned(), highest);
                    wrote += 1;
                }
                _ => {}
            }
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        // It may have written more before the signal came.
        for line in lines {
            if let ["wrote", key, revision] = line.split(' ').collect::<Vec<_>>()[..] {
                highest = revision.parse().unwrap_or(highest);
                acknowledged.insert(key.to_owned(), highest);
            }
        }
    }
    let store = Store::open(Box::new(SqliteJournal::open(&path).expect("open")), &Scope::root()).expect("open");
    for (key, revision) in acknowledged {
        let object = store.get(&table(), &ObjectKey::from(key.as_str())).expect("acknowledged and lost");
        assert!(object.revision.0 >= revision, "{key} is at {}, acknowledged at {revision}", object.revision);
    }
}

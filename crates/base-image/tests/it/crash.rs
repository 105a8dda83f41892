//! kill -9 while the store is written: what was acknowledged is there, and leads to complete content.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use base_image::assemble::{ImageSpec, LayerTree, assemble_as};
use base_image::media_type::Compression;
use base_image::{Digest, ImageConfig, OwnNames, Platform, Reference, Store};
use base_rt::Timestamp;

/// Present where the writer may write: whoever runs ignored tests by hand does not mean it.
const PERMIT: &str = "crash-test";

/// How many images are acknowledged before each kill.
const KILLS_AFTER: [usize; 5] = [0, 1, 2, 5, 9];

/// More than any round waits for: the writer ends by itself if nobody kills it.
const MOST_IMAGES: usize = 500;

fn open() -> Store {
    Store::open(Path::new("store"), OwnNames::default()).unwrap()
}

#[test]
#[ignore = "a part of the test below, which runs it in a process of its own and kills it"]
fn writer() {
    if !Path::new(PERMIT).exists() {
        return;
    }
    let store = open();
    let start = store.records().len();
    for number in start..start + MOST_IMAGES {
        let mut files = LayerTree::new();
        files.add_bytes("data", 0o644, vec![number as u8; 50_000 + number]).unwrap();
        let config = ImageConfig { platform: Platform::host(), ..ImageConfig::default() };
        let spec = ImageSpec { config, layers: vec![files], compression: Compression::None };
        let reference: Reference = format!("image:{number}").parse().unwrap();
        let record = assemble_as(&store, &spec, &reference, Timestamp::UNIX_EPOCH).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {reference} {}", record.digest).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the writer until it has acknowledged `count` images, kills it, and gives what it acknowledged.
fn write_and_kill(dir: &Path, count: usize) -> Vec<(Reference, Digest)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = Vec::new();
    let mut is_killed = false;
    for line in lines {
        // The harness announces the test before it starts: the first kill meets the very beginning.
        if acknowledged.len() >= count && !is_killed {
            child.kill().unwrap();
            is_killed = true;
        }
        if let Some((reference, digest)) = line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' ')) {
            acknowledged.push((reference.parse().unwrap(), digest.parse().unwrap()));
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= count, "the writer ended early");
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(PERMIT), "").unwrap();
    let mut acknowledged = Vec::new();
    for count in KILLS_AFTER {
        acknowledged.extend(write_and_kill(dir.path(), count));
        let store = Store::open(&dir.path().join("store"), OwnNames::default()).unwrap();
        for (reference, digest) in &acknowledged {
            let record = store.record(reference).unwrap_or_else(|| panic!("{reference} is lost"));
            assert_eq!(record.digest, *digest);
        }
        // Also what was not acknowledged any more, but has a name, is whole.
        for record in store.records() {
            let image = store.image(record.digest).unwrap();
            for layer in image.layers {
                store.read_blob(layer.digest, 1 << 20).unwrap();
            }
        }
    }
    assert!(acknowledged.len() >= KILLS_AFTER.iter().sum());
}

//! What `kwick up` refuses: exit code 2, what and the fix, nothing started, nothing overwritten.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::instance::{Instance, ensure, free_addresses, up_options};
use crate::leftovers::Picture;
use crate::place::{self, Place};

const NOBODY: u32 = 65534;

/// Starting needs root.
pub(super) fn not_root(place: &Place) -> Result<String> {
    // The build folder may be closed to others.
    let copy = place.scratch("kwick");
    std::fs::copy(place.binary("kwick"), &copy).context("cannot copy the binary")?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    let folder = place.scratch("not-root");
    let mut up = Command::new(&copy);
    up.args(["up", "--detach"]).args(up_options(&folder, free_addresses()?)).uid(NOBODY).gid(NOBODY).current_dir("/");
    let said = refused(place, &mut up, &["root"])?;
    ensure(!folder.exists(), || "it made a data directory".to_owned())?;
    Ok(said)
}

/// A port that somebody has; the text names it and the process.
pub(super) fn port_taken(place: &Place) -> Result<String> {
    let addresses = free_addresses()?;
    let [_, api, _] = addresses;
    let _holder = TcpListener::bind(api).context("the port is not free any more")?;
    let mut up = up(place, &place.scratch("port"), addresses);
    refused(place, &mut up, &[&api.port().to_string(), &std::process::id().to_string()])
}

/// A data directory that another Kwick has; that one goes on.
pub(super) fn in_use(place: &Place) -> Result<String> {
    let kwick = Instance::start_with(place, "in-use", &["--only", "api"])?;
    let said = refused(place, &mut up(place, kwick.folder(), free_addresses()?), &["in-use"])?;
    kwick.api.get("/version")?.context("the first one does not answer any more")?;
    kwick.down()?;
    Ok(said)
}

/// A data directory of a later version is left as it is.
pub(super) fn newer(place: &Place) -> Result<String> {
    stopped_with(place, "newer", |folder| overwrite(&folder.join("VERSION"), b"999999\n"), &["newer"])
}

/// A damaged store is left as it is.
pub(super) fn damaged(place: &Place) -> Result<String> {
    let damage = |folder: &Path| {
        let store = largest(&folder.join("state"))?;
        overwrite(&store, &b"this is no database, and it is long enough to have a header. ".repeat(100))
    };
    stopped_with(place, "damaged", damage, &["damaged"])
}

/// Starts, stops, changes the data, and expects a refusal that changes nothing more.
fn stopped_with(
    place: &Place,
    name: &str,
    change: impl FnOnce(&Path) -> Result<()>,
    expected: &[&str],
) -> Result<String> {
    let kwick = Instance::start_with(place, name, &["--only", "api"])?;
    place::output(&mut kwick.kwick(&["down"]))?;
    change(kwick.folder())?;
    let before = contents(kwick.folder())?;
    let mut up = place.kwick(["up", "--detach"]);
    up.args(kwick.options());
    let said = refused(place, &mut up, expected)?;
    ensure(contents(kwick.folder())? == before, || "the refused start changed the data directory".to_owned())?;
    // Kwick does not touch what it does not understand; the data is this program's.
    let folder = kwick.folder().to_owned();
    std::fs::remove_dir_all(&folder).context("cannot remove the data")?;
    kwick.down()?;
    Ok(said)
}

fn up(place: &Place, folder: &Path, addresses: [std::net::SocketAddr; 3]) -> Command {
    let mut up = place.kwick(["up", "--detach"]);
    up.args(up_options(folder, addresses));
    up
}

/// Runs a command that must be refused; what it said.
fn refused(place: &Place, up: &mut Command, expected: &[&str]) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let outcome = place::outcome(up)?;
    let said = place::text(&outcome);
    ensure(outcome.status.code() == Some(2), || format!("it ended with {}: {said}", outcome.status))?;
    for part in expected {
        ensure(said.contains(part), || format!("{part:?} is not in: {said}"))?;
    }
    ensure(said.contains("fix:"), || format!("it names no fix: {said}"))?;
    before.expect_nothing_new()?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Every file of the data with its content, but for the log and the lock.
fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for path in files(folder)? {
        let name = path.display().to_string();
        if !name.ends_with(".log") && !name.ends_with("/lock") {
            all.push((name, std::fs::read(&path)?));
        }
    }
    all.sort();
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => found.extend(files(&entry.path())?),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    Ok(found)
}

/// The store is the largest file among its neighbours; after a clean stop there is no journal beside it.
fn largest(folder: &Path) -> Result<std::path::PathBuf> {
    let sized = files(folder)?.into_iter().map(|path| (std::fs::metadata(&path).map_or(0, |meta| meta.len()), path));
    sized.max().map(|(_, path)| path).context("there is no store")
}

/// Overwrites the beginning; the owner stays.
fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if path.ends_with("VERSION") {
        file.set_len(0)?;
    }
    file.write_all(bytes).context("cannot write")
}

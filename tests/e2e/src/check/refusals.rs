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
/// The size of the store's pages.
const PAGE: usize = 4096;

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
    let folder = place.scratch("port");
    let mut up = up(place, &folder, addresses);
    let said = refused(place, &mut up, &[&api.port().to_string(), &std::process::id().to_string()])?;
    ensure(!folder.exists(), || "it made a data directory".to_owned())?;
    Ok(said)
}

/// A machine without cgroups, as far as this process can see.
pub(super) fn no_cgroups(place: &Place) -> Result<String> {
    let folder = place.scratch("no-cgroups");
    let up = up(place, &folder, free_addresses()?);
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "sh", "-c", "umount -R -l /sys/fs/cgroup && exec \"$@\"", "sh"]);
    let said = refused(place, apart.arg(up.get_program()).args(up.get_args()), &["cgroups", "mount /sys/fs/cgroup"])?;
    ensure(!folder.exists(), || "it made a data directory".to_owned())?;
    Ok(said)
}

/// One port for two purposes.
pub(super) fn one_port_twice(place: &Place) -> Result<String> {
    let [gateway, api, _] = free_addresses()?;
    let folder = place.scratch("twice");
    let said =
        refused(place, &mut up(place, &folder, [gateway, api, gateway]), &["--registry-addr", "--gateway-addr"])?;
    ensure(!folder.exists(), || "it made a data directory".to_owned())?;
    Ok(said)
}

/// A log filter that is none.
pub(super) fn log_filter(place: &Place) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let folder = place.scratch("filter");
    let outcome = place::outcome(up(place, &folder, free_addresses()?).args(["--log", "[["]))?;
    let said = place::text(&outcome);
    ensure(outcome.status.code() == Some(2) && said.contains("--log"), || format!("{}: {said}", outcome.status))?;
    ensure(!folder.exists(), || "it made a data directory".to_owned())?;
    before.expect_nothing_new()?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// A data directory below a folder that only root may enter.
pub(super) fn out_of_reach(place: &Place) -> Result<String> {
    let closed = place.scratch("closed");
    std::fs::create_dir(&closed).context("cannot make a folder")?;
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700))?;
    let name = closed.display().to_string();
    let said = refused(place, &mut up(place, &closed.join("data"), free_addresses()?), &[&name, "chmod"])?;
    ensure(std::fs::read_dir(&closed)?.next().is_none(), || "it made a data directory".to_owned())?;
    std::fs::remove_dir(&closed)?;
    Ok(said)
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
    stopped_with(place, "newer", "api", |folder| overwrite(&folder.join("VERSION"), b"999999\n"), &["newer"])
}

/// A damaged store is left as it is.
pub(super) fn damaged(place: &Place) -> Result<String> {
    let damage = |folder: &Path| overwrite(&largest(&folder.join("state"))?, &garbage(6100));
    stopped_with(place, "damaged", "api", damage, &["damaged"])
}

/// The same where only pages behind the first are damaged, so that it shows when the objects are read.
pub(super) fn damaged_inside(place: &Place) -> Result<String> {
    let damage = |folder: &Path| {
        let store = largest(&folder.join("state"))?;
        let length = usize::try_from(std::fs::metadata(&store)?.len())?;
        ensure(length > 4 * PAGE, || format!("the store has only {length} bytes"))?;
        let mut bytes = std::fs::read(&store)?;
        bytes.truncate(PAGE);
        bytes.extend(garbage(length - PAGE));
        overwrite(&store, &bytes)
    };
    stopped_with(place, "damaged-inside", "api", damage, &["damaged"])
}

/// A damaged list of the program's own images is left as it is.
pub(super) fn damaged_list(place: &Place) -> Result<String> {
    let damage = |folder: &Path| overwrite(&folder.join("state/own-images.json"), b"damaged");
    stopped_with(place, "damaged-list", "cluster", damage, &["own-images.json is damaged"])
}

/// An authority's certificate without its key.
pub(super) fn half_authority(place: &Place) -> Result<String> {
    let damage = |folder: &Path| std::fs::remove_file(folder.join("pki/ca.key")).context("there is no key");
    stopped_with(place, "half-authority", "api", damage, &["ca.key is missing"])
}

/// So many bytes that are no database.
fn garbage(length: usize) -> Vec<u8> {
    b"this is no database. ".iter().copied().cycle().take(length).collect()
}

/// Starts, stops, changes the data, and expects a refusal that changes nothing more.
fn stopped_with(
    place: &Place,
    name: &str,
    level: &str,
    change: impl FnOnce(&Path) -> Result<()>,
    expected: &[&str],
) -> Result<String> {
    let kwick = Instance::start_with(place, name, &["--only", level])?;
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

/// Every file of the data with its content, but for the log and which process it is.
fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for path in files(folder)? {
        let name = path.display().to_string();
        if !name.ends_with(".log") && !name.ends_with("/pid") {
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

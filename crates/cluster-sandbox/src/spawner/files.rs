//! Files that the client hands over for a pod. They are root's own, lie in memory that only containers of the pod see, and change as a whole.
//!
//! Nobody but the spawner can write there: containers mount a read-only view. So paths in them lead where the spawner has made them lead.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::Path;

use rustix::io::Errno;

use super::answers::{Outcome, Said, refuse, refuse_failed};
use super::pods::{mount_memory, no_pod, unmount_memory};
use super::server::Spawner;
use crate::removal::remove_tree;
use crate::spec::{Check, PodFile, PodFiles};
use crate::wire::{Answer, Refusal, RefusalCode};

/// The link that says which content is the present one.
const DATA: &str = "..data";
const PENDING: &str = "..pending";
const DIRECTORY_MODE: u32 = 0o755;
const SET_GROUP_ID: u32 = 0o2000;
const PODS_FILES_MAX: usize = 64;
/// Two contents of the most that a request may carry, in whole pages; how many files, directories and links those may be.
const SIZE: (&str, &str) = ("size", "64m");
const INODES: (&str, &str) = ("nr_inodes", "16k");
const MODE: (&str, &str) = ("mode", "755");
/// Never on a disk, where the kernel can promise that (Linux 6.4).
const NO_SWAP: (&str, &str) = ("noswap", "");

impl Spawner {
    /// Makes a pod's files, or changes them.
    pub(super) fn write_files(&mut self, wanted: &PodFiles) -> Outcome {
        wanted.check().map_err(refuse)?;
        let path = self.small_dir(&wanted.pod).join(format!("files-{}", wanted.name));
        let pod = self.pods.get_mut(&wanted.pod).ok_or_else(|| no_pod(&wanted.pod))?;
        if pod.removing.is_some() {
            return Err(Refusal::new(RefusalCode::Busy, format!("pod {} is being removed", wanted.pod)));
        }
        if pod.files.contains_key(&wanted.name) {
            publish(&path, wanted).map_err(refuse_failed("changing a pod's files"))?;
            return Ok(Said::plain(Answer::Done));
        }
        if pod.namespaces.is_none() || pod.files.len() >= PODS_FILES_MAX {
            let message = format!("pod {} runs nothing, or has {PODS_FILES_MAX} sets of files already", wanted.pod);
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        make(&path, wanted).map_err(refuse_failed("making a pod's files"))?;
        pod.memory.push(path.clone());
        pod.files.insert(wanted.name.clone(), path);
        Ok(Said::plain(Answer::Done))
    }
}

/// A new place with files in it. If that fails, nothing is left of it.
fn make(path: &Path, wanted: &PodFiles) -> io::Result<()> {
    fs::create_dir(path)?;
    let made = mount(path).and_then(|()| {
        let filled = own(path, wanted.group).and_then(|()| publish(path, wanted));
        filled.inspect_err(|_| unmount_memory(path))
    });
    made.inspect_err(|_| _ = fs::remove_dir(path))
}

fn mount(path: &Path) -> io::Result<()> {
    match mount_memory(path, &[SIZE, INODES, MODE, NO_SWAP]) {
        Err(Errno::INVAL) => Ok(mount_memory(path, &[SIZE, INODES, MODE])?),
        outcome => Ok(outcome?),
    }
}

/// Puts files into their place, all at once.
fn publish(place: &Path, wanted: &PodFiles) -> io::Result<()> {
    for path in &wanted.mount_points {
        make_directories(place, Path::new(path), wanted.group)?;
    }
    let present = fs::read_link(place.join(DATA)).ok();
    let is_same = present.as_ref().is_some_and(|present| has(&place.join(present), wanted));
    if !is_same {
        let number = present.as_ref().and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
        let fresh = format!("..{}", number.unwrap_or(0) + 1);
        let content = place.join(&fresh);
        let swapped = write(&content, wanted).and_then(|()| {
            symlink(&fresh, place.join(PENDING))?;
            fs::rename(place.join(PENDING), place.join(DATA))
        });
        if let Err(error) = swapped {
            // What is in the way of the next try is removed, as far as that goes.
            let _ = fs::remove_file(place.join(PENDING));
            let _ = remove_tree(&content);
            return Err(error);
        }
    }
    link_names(place, wanted)?;
    match present.filter(|_| !is_same) {
        Some(old) => remove_tree(&place.join(old)),
        None => Ok(()),
    }
}

fn write(content: &Path, wanted: &PodFiles) -> io::Result<()> {
    make_directories(content, Path::new(""), wanted.group)?;
    for (path, PodFile { content: bytes, mode, owner }) in &wanted.files {
        let path = Path::new(path);
        make_directories(content, path.parent().unwrap_or(Path::new("")), wanted.group)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(content.join(path))?;
        file.write_all(bytes)?;
        fchown(&file, Some(*owner), wanted.group)?;
        file.set_permissions(Permissions::from_mode(*mode))?;
    }
    Ok(())
}

/// Makes `top` and the directories of `path` below it, as far as they are not there.
fn make_directories(top: &Path, path: &Path, group: Option<u32>) -> io::Result<()> {
    let mut reached = top.to_owned();
    for part in [Path::new("")].into_iter().chain(path.iter().map(Path::new)) {
        reached.push(part);
        match fs::create_dir(&reached) {
            Ok(()) => own(&reached, group)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn own(directory: &Path, group: Option<u32>) -> io::Result<()> {
    chown(directory, None, group)?;
    let mode = if group.is_some() { DIRECTORY_MODE | SET_GROUP_ID } else { DIRECTORY_MODE };
    fs::set_permissions(directory, Permissions::from_mode(mode))
}

/// Whether a content directory holds exactly these files.
fn has(content: &Path, wanted: &PodFiles) -> bool {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    let is_there = |(path, file): (&String, &PodFile)| -> io::Result<bool> {
        let path = content.join(path);
        let found = fs::metadata(&path)?;
        let is_owned = found.uid() == file.owner && wanted.group.is_none_or(|group| found.gid() == group);
        Ok(is_owned && found.mode() & 0o7777 == file.mode && fs::read(path)? == file.content)
    };
    count(content) == wanted.files.len() && wanted.files.iter().all(|file| is_there(file).unwrap_or(false))
}

/// The names by which the content is seen: the first parts of its paths. What else is there is a mount point, or was made for a sub-path.
fn link_names(place: &Path, wanted: &PodFiles) -> io::Result<()> {
    let names: BTreeSet<&str> = wanted.files.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with("..") || names.contains(name));
        if !is_ours && entry.file_type()?.is_symlink() {
            fs::remove_file(place.join(name))?;
        }
    }
    for name in names {
        match symlink(format!("{DATA}/{name}"), place.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{PodId, VolumeName};

    fn files(pairs: &[(&str, &str)]) -> PodFiles {
        let owner = rustix::process::geteuid().as_raw();
        let file = |text: &str| PodFile { content: text.as_bytes().to_vec(), mode: 0o640, owner };
        PodFiles {
            pod: PodId::try_new("pod").unwrap(),
            name: VolumeName::try_new("v").unwrap(),
            group: Some(rustix::process::getegid().as_raw()),
            files: pairs.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect(),
            mount_points: ["m/n".to_owned()].into(),
        }
    }

    #[test]
    fn content_changes_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let read = |path: &str| fs::read_to_string(place.join(path)).ok();
        let some = |text: &str| Some(text.to_owned());
        let present = || fs::read_link(place.join(DATA)).unwrap();
        publish(place, &files(&[("a", "1"), ("d/e", "2"), ("d/f/g", "3")])).unwrap();
        assert_eq!((read("a"), read("d/e"), read("d/f/g")), (some("1"), some("2"), some("3")));
        let modes = ["a", "d", "d/f", "m", "m/n"].map(|path| fs::metadata(place.join(path)).unwrap().mode() & 0o7777);
        assert_eq!(modes, [0o640, 0o2755, 0o2755, 0o2755, 0o2755]);
        let first = present();
        publish(place, &files(&[("a", "1"), ("d/e", "2"), ("d/f/g", "3")])).unwrap();
        assert_eq!(present(), first, "the same is not written again");
        let mut other = files(&[("a", "1"), ("d/e", "2"), ("d/f/g", "3")]);
        other.files.get_mut("a").unwrap().mode = 0o600;
        publish(place, &other).unwrap();
        assert_ne!(present(), first, "another mode is another content");
        assert!(!place.join(first).exists(), "the old content is gone");
        publish(place, &files(&[("a", "4")])).unwrap();
        assert_eq!((read("a"), read("d/e"), place.join("d").is_symlink()), (some("4"), None, false));
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        publish(place, &files(&[("a", "1")])).unwrap();
        let names = || fs::read_dir(place).unwrap().flatten().map(|entry| entry.file_name()).collect::<BTreeSet<_>>();
        let before = names();
        assert!(publish(place, &files(&[("a", "2"), ("b", "file"), ("b/c", "and directory")])).is_err());
        assert_eq!((names(), fs::read_to_string(place.join("a")).unwrap()), (before, "1".to_owned()));
        publish(place, &files(&[("a", "2")])).unwrap();
        assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "2");
    }
}

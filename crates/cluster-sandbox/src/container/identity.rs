//! Who a container's process is: an image's user and group words, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! A number needs no entry; a name does. The same rules as in other runtimes: a user's primary group and home come from its entry, its
//! further groups from `/etc/group`, unless a group is named.

use std::fs::File;
use std::io::Read;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::tree::Tree;
use super::{Step, failed};
use crate::spec::{ID_MAX, UserSpec};
use crate::wire::{Refusal, RefusalCode};

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, sorted, each once.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// An image's file of users is read up to here.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// The kernel takes 65536; nobody means more than this.
const GROUPS_MAX: usize = 1024;

/// Looks a user up in a root file system.
pub(crate) fn resolve(root: Tree<'_>, wanted: &UserSpec) -> Step<Identity> {
    let (user, group) = wanted.image_user.split_once(':').unwrap_or((&wanted.image_user, ""));
    let (user, group) = match wanted.uid {
        // Another user than the image's: the image's group says nothing about it.
        Some(uid) => (uid.to_string(), ""),
        None => (user.to_owned(), group),
    };
    let passwd = read(root, "/etc/passwd")?;
    let groups = read(root, "/etc/group")?;
    let mut identity = lookup(&user, group, &passwd, &groups)?;
    if let Some(gid) = wanted.gid {
        identity.gid = gid;
    }
    identity.groups.extend(&wanted.supplementary_groups);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    if wanted.must_not_be_root && identity.uid == 0 {
        let message = "container has runAsNonRoot and image will run as root";
        return Err(Refusal::new(RefusalCode::BadUser, message));
    }
    Ok(identity)
}

fn read(root: Tree<'_>, path: &str) -> Step<String> {
    let file = match root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
        Err(error) => return Err(failed(format!("opening the image's {path}"))(error)),
    };
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut bytes = Vec::new();
    if is_regular {
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(failed(format!("reading the image's {path}")))?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Entry<'text> {
    name: &'text str,
    uid: u32,
    gid: u32,
    home: &'text str,
}

fn lookup(user: &str, group: &str, passwd: &str, groups: &str) -> Step<Identity> {
    let user = if user.is_empty() { "0" } else { user };
    let number = number(user)?;
    // A number may also be somebody's name; the name wins, as in other runtimes.
    let by_name = entries(passwd).find(|entry| entry.name == user);
    let entry = by_name.or_else(|| entries(passwd).find(|entry| Some(entry.uid) == number));
    let (uid, mut gid, home) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (uid, 0, "/"),
        (None, None) => return Err(unknown(format!("unable to find user {user}: no matching entries in passwd file"))),
    };
    let mut further = Vec::new();
    if group.is_empty() {
        let name = entry.map_or("", |entry| entry.name);
        further = memberships(groups, name);
    } else {
        gid = group_number(groups, group)?;
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups: further, home: home.to_owned() })
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Entry { name, uid, gid, home })
    })
}

fn memberships(groups: &str, user: &str) -> Vec<u32> {
    let is_member = |line: &&str| {
        !user.is_empty() && line.split(':').nth(3).is_some_and(|list| list.split(',').any(|name| name == user))
    };
    groups.lines().filter(is_member).filter_map(|line| id(line.split(':').nth(2)?)).take(GROUPS_MAX).collect()
}

fn group_number(groups: &str, group: &str) -> Step<u32> {
    let by_name = groups.lines().find(|line| line.split(':').next() == Some(group));
    if let Some(gid) = by_name.and_then(|line| id(line.split(':').nth(2)?)) {
        return Ok(gid);
    }
    number(group)?.ok_or_else(|| unknown(format!("unable to find group {group}: no matching entries in group file")))
}

/// An id in an image's file. A line with one that is none is as if it were not there.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= ID_MAX)
}

/// The number that an image's word for a user or group is; nothing if it is a name.
fn number(word: &str) -> Step<Option<u32>> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let out_of_range = || unknown(format!("uids and gids must be in range 0-{ID_MAX}, and {word} is not"));
    id(word).map(Some).ok_or_else(out_of_range)
}

fn unknown(message: String) -> Refusal {
    Refusal::new(RefusalCode::BadUser, message)
}

#[cfg(test)]
mod tests;

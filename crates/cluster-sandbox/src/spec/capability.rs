//! Sets of Linux capabilities, by their names without `CAP_`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of capabilities. Crosses the wire, and prints, as the list of its names: `["CHOWN", "KILL"]`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CapabilitySet(u64);

/// A name that is no capability's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

/// By number, from 0 on (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const ALL: u64 = (1 << NAMES.len()) - 1;

/// What containers have unless told otherwise, everywhere (containerd, Docker, CRI-O's older default).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// What may be added without giving the machine away: they act on the pod's own namespaces or on its own processes.
const CONTAINED: [&str; 6] = ["NET_ADMIN", "NET_BROADCAST", "IPC_LOCK", "IPC_OWNER", "SYS_PTRACE", "SYS_NICE"];

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability.
    pub const ALL: Self = Self(ALL);

    /// What a container has unless told otherwise.
    pub fn container_default() -> Self {
        Self::of(&DEFAULT)
    }

    /// The most a request may ask for unless the spawner's configuration says otherwise: the default set and those whose effect stays
    /// inside the pod's namespaces.
    pub fn contained() -> Self {
        Self(Self::container_default().0 | Self::of(&CONTAINED).0)
    }

    /// The default set with some dropped and others added, as a container's security context says it. `ALL` stands for every one; the
    /// prefix `CAP_` and small letters are understood. What is named in both lists is kept.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn adjusted(add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let added = Self::parse(add)?;
        let dropped = Self::parse(drop)?;
        Ok(Self(Self::container_default().0 & !dropped.0 | added.0))
    }

    /// The set of the named capabilities; `ALL` stands for every one.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn parse(names: &[String]) -> Result<Self, UnknownCapability> {
        let mut set = Self::EMPTY;
        for name in names {
            set.0 |= bits(name)?;
        }
        Ok(set)
    }

    /// Whether every capability of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What is in this set and not in `other`.
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no capability.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kernel's bit mask.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The names, in the order of the kernel's numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 & (1 << number) != 0).map(|(_, name)| *name)
    }

    fn of(names: &[&str]) -> Self {
        let has = |name: &&str| names.contains(name);
        Self(NAMES.iter().enumerate().filter(|(_, name)| has(name)).fold(0, |set, (number, _)| set | 1 << number))
    }
}

fn bits(name: &str) -> Result<u64, UnknownCapability> {
    let plain = name.to_ascii_uppercase();
    let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
    if plain == "ALL" {
        return Ok(ALL);
    }
    let number = NAMES.iter().position(|known| *known == plain);
    number.map(|number| 1 << number).ok_or_else(|| UnknownCapability(name.chars().take(64).collect()))
}

impl TryFrom<Vec<String>> for CapabilitySet {
    type Error = UnknownCapability;

    fn try_from(names: Vec<String>) -> Result<Self, UnknownCapability> {
        Self::parse(&names)
    }
}

impl From<CapabilitySet> for Vec<String> {
    fn from(set: CapabilitySet) -> Self {
        set.names().map(str::to_owned).collect()
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_default_set_is_the_known_mask() {
        // The mask every Docker container shows as CapBnd.
        assert_eq!(CapabilitySet::container_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn drop_all_then_add() {
        let set = CapabilitySet::adjusted(&owned(&["CAP_NET_BIND_SERVICE"]), &owned(&["ALL"])).unwrap();
        assert_eq!(Vec::from(set), ["NET_BIND_SERVICE"]);
        let set = CapabilitySet::adjusted(&owned(&["ALL"]), &owned(&["kill"])).unwrap();
        assert_eq!(set, CapabilitySet::ALL);
        assert_eq!(CapabilitySet::adjusted(&owned(&["FLY"]), &[]), Err(UnknownCapability("FLY".into())));
    }

    #[test]
    fn the_bound_excludes_what_rules_the_machine() {
        let bound = CapabilitySet::contained();
        for dangerous in ["SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH", "BPF", "SYS_BOOT"] {
            assert!(!bound.contains(CapabilitySet::parse(&owned(&[dangerous])).unwrap()), "{dangerous}");
        }
    }
}

//! Names that are also file names, cgroup names and keys: one alphabet, one length, checked when they are made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 120;

/// A text that is no name: empty, too long, or with a character outside letters, digits, `-`, `_` and `.`; the first one is a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: it needs 1 to {NAME_MAX_BYTES} letters, digits, '-', '_' or '.', the first a letter or a digit"
)]
pub struct BadName {
    text: String,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// The text is not a name (see [`BadName`]).
            pub fn try_new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                if is_name(&text) { Ok(Self(text)) } else { Err(BadName { text: shortened(text) }) }
            }

            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// One Kwick on a machine. Cgroups, links and firewall tables carry it.
    InstanceId;
    /// A pod, unique among the living and the remembered of an instance.
    PodId;
    /// One run of a container, unique in an instance: a restart is another one.
    ContainerId;
    /// One program run beside a container's own.
    ExecId;
    /// An unpacked layer: a directory's name, usually the digest of its content.
    LayerName;
    /// A listening socket, or a set of them sharing one port.
    ListenerName;
    /// A storage, unique in an instance.
    StorageName;
    /// A volume of a pod.
    VolumeName;
}

fn is_name(text: &str) -> bool {
    let first_is_plain = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first_is_plain
        && text.len() <= NAME_MAX_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// What an error repeats of a text that may be of any length.
fn shortened(text: String) -> String {
    if text.len() <= NAME_MAX_BYTES { text } else { text.chars().take(NAME_MAX_BYTES).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_a_path() {
        for bad in ["", ".", "..", "a/b", "/a", "-a", ".hidden", "a b", "a\0", "ü", &"a".repeat(NAME_MAX_BYTES + 1)] {
            assert!(PodId::try_new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "0", "sha256-0f", "A.b_c-d", &"a".repeat(NAME_MAX_BYTES)] {
            assert_eq!(PodId::try_new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn decoding_checks_too() {
        assert!(serde_json::from_str::<LayerName>("\"../etc\"").is_err());
        assert_eq!(serde_json::from_str::<LayerName>("\"sha256-1\"").unwrap().as_str(), "sha256-1");
    }
}

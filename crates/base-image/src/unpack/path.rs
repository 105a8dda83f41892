//! Paths of entries, taken apart: what is left is plain names below the root, or a refusal.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::error::EntryError;

/// The longest path, as Linux has it.
pub(super) const MAX_PATH_BYTES: usize = 4096;

/// The longest name, as Linux has it.
const MAX_NAME_BYTES: usize = 255;

/// The deepest directory. Paths in real images have a tenth of it.
pub(super) const MAX_DEPTH: usize = 255;

/// What overlay-like formats prefix a removed file's name with.
const WHITEOUT: &[u8] = b".wh.";

/// Says that a directory hides everything below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What follows is bookkeeping of AUFS.
const AUFS: &[u8] = b".wh..wh.";

/// What an entry is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The root itself.
    Root,
    /// `name` in `parent`.
    Node { parent: Vec<OsString>, name: OsString },
    /// `name` in `parent` is hidden.
    Whiteout { parent: Vec<OsString>, name: OsString },
    /// `directory` hides what is below.
    Opaque { directory: Vec<OsString> },
    /// Nothing.
    Ignored,
}

/// Splits a path into names. `.` and empty components vanish, `..` takes back the one before, an absolute path starts at the root.
pub(super) fn split(path: &[u8]) -> Result<Vec<OsString>, EntryError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(EntryError::TooDeep);
    }
    let mut names = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => _ = names.pop().ok_or(EntryError::Escapes)?,
            name if name.len() > MAX_NAME_BYTES => return Err(EntryError::TooDeep),
            name => names.push(OsString::from_vec(name.to_vec())),
        }
    }
    if names.len() > MAX_DEPTH { Err(EntryError::TooDeep) } else { Ok(names) }
}

impl Target {
    /// What an entry with that path is about.
    pub(super) fn parse(path: &[u8]) -> Result<Self, EntryError> {
        let mut parent = split(path)?;
        let Some(name) = parent.pop() else {
            return Ok(Self::Root);
        };
        let bytes = name.as_encoded_bytes();
        if parent.iter().any(|name| name.as_encoded_bytes().starts_with(AUFS)) {
            return Ok(Self::Ignored);
        }
        if bytes == OPAQUE {
            return Ok(Self::Opaque { directory: parent });
        }
        if bytes.starts_with(AUFS) {
            return Ok(Self::Ignored);
        }
        match bytes.strip_prefix(WHITEOUT) {
            Some(b"" | b"." | b"..") => Err(EntryError::Whiteout),
            Some(hidden) => Ok(Self::Whiteout { name: OsString::from_vec(hidden.to_vec()), parent }),
            None => Ok(Self::Node { parent, name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(path: &str) -> Result<Vec<String>, EntryError> {
        Ok(split(path.as_bytes())?.into_iter().map(|name| name.into_string().unwrap()).collect())
    }

    #[test]
    fn paths_are_relative_to_the_root() {
        for path in ["a/b", "./a/b/", "/a//b", "a/c/../b", "///a/./b"] {
            assert_eq!(names(path).unwrap(), ["a", "b"], "{path}");
        }
        assert!(names("./").unwrap().is_empty());
        for path in ["..", "/..", "a/../..", "../a"] {
            assert!(matches!(names(path), Err(EntryError::Escapes)), "{path}");
        }
        assert!(matches!(names(&"a".repeat(256)), Err(EntryError::TooDeep)));
        assert!(matches!(names(&"a/".repeat(256)), Err(EntryError::TooDeep)));
        assert!(matches!(names(&"./".repeat(2049)), Err(EntryError::TooDeep)));
    }

    #[test]
    fn marks_are_recognised() {
        let parse = |path: &str| Target::parse(path.as_bytes()).unwrap();
        assert_eq!(parse("/"), Target::Root);
        assert_eq!(parse("a/.wh.b"), Target::Whiteout { parent: vec!["a".into()], name: "b".into() });
        assert_eq!(parse("a/.wh..wh..opq"), Target::Opaque { directory: vec!["a".into()] });
        assert_eq!(parse(".wh..wh.plnk/1.2"), Target::Ignored);
        for path in [".wh.", "a/.wh..", "a/.wh..."] {
            assert!(matches!(Target::parse(path.as_bytes()), Err(EntryError::Whiteout)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn names_are_plain_whatever_the_path(path in prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..40)) {
            for name in split(&path).unwrap_or_default() {
                let bytes = name.as_encoded_bytes();
                prop_assert!(!bytes.is_empty() && !bytes.contains(&b'/') && bytes != b"." && bytes != b"..");
            }
        }
    }
}

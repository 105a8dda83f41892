//! What mutations start from: files of the repository, in the order of their names, so that a seed means the same everywhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The corpus of a target.
pub(crate) fn of(target: &str) -> Result<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "{} is empty", directory.display());
    paths.iter().map(|path| fs::read(path).with_context(|| format!("read {}", path.display()))).collect()
}

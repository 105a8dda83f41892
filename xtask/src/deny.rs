//! `cargo xtask deny`: under which licences, and from where, comes what Kwick is linked with.
//!
//! It reads `cargo metadata`, needs nothing else installed, and checks what matters most of deny.toml: every licence is on the list,
//! every source is the registry, and no C library is linked twice. Who has cargo-deny gets known vulnerabilities from it as well.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::sh;

/// Licences that Kwick may be linked with; deny.toml has the same list.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Nothing for the workspace's own.
    source: Option<String>,
    /// The native library it links.
    links: Option<String>,
}

/// Checks everything in the lock file that this platform compiles.
pub(crate) fn run() -> Result<()> {
    let host = sh::output("rustc", ["-vV"])?;
    let triple = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", triple];
    let metadata: Metadata =
        serde_json::from_str(&sh::output("cargo", args)?).context("cargo metadata gave unexpected JSON")?;
    let complaints = complaints(&metadata.packages);
    if !complaints.is_empty() {
        bail!("dependencies that may not be (see deny.toml):\n  {}", complaints.join("\n  "));
    }
    Ok(())
}

fn complaints(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut native: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let named = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("");
        if !is_allowed(licence) {
            complaints.push(format!("{named} has the licence {licence:?}"));
        }
        if let Some(source) = package.source.as_deref().filter(|source| *source != REGISTRY) {
            complaints.push(format!("{named} comes from {source}"));
        }
        if package.links.is_some() || package.name.ends_with("-sys") {
            native.entry(&package.name).or_default().insert(&package.version);
        }
    }
    for (name, versions) in native.iter().filter(|(_, versions)| versions.len() > 1) {
        complaints.push(format!("{name} is there in {} versions", versions.len()));
    }
    complaints
}

/// Whether the list satisfies an SPDX expression (`OR` is also written `/` by older crates). What cannot be read is not allowed.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn either(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = both(words)?;
    while take(words, "OR") {
        allowed |= both(words)?;
    }
    Some(allowed)
}

fn both(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(words)?;
    while take(words, "AND") {
        allowed &= one(words)?;
    }
    Some(allowed)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    if take(words, "(") {
        let allowed = either(words)?;
        return take(words, ")").then_some(allowed);
    }
    let (name, rest) = words.split_first()?;
    *words = rest;
    if !take(words, "WITH") {
        return Some(LICENCES.contains(name));
    }
    let (exception, rest) = words.split_first()?;
    *words = rest;
    Some(LICENCES.contains(&format!("{name} WITH {exception}").as_str()))
}

fn take(words: &mut &[&str], wanted: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == wanted => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_by_the_list() {
        for good in ["MIT", "MIT/Apache-2.0", "Unlicense OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0"] {
            assert!(is_allowed(good), "{good}");
        }
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH Something", "(MIT", "MIT OR", "MIT MIT"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn sources_and_native_libraries_are_checked() {
        let package = |version: &str, source: &str| Package {
            name: "z-sys".into(),
            version: version.into(),
            license: Some("MIT".into()),
            source: Some(source.into()),
            links: Some("z".into()),
        };
        assert!(complaints(&[package("1", REGISTRY)]).is_empty());
        assert_eq!(complaints(&[package("1", REGISTRY), package("2", REGISTRY)]).len(), 1);
        assert_eq!(complaints(&[package("1", "git+https://example.com/z")]).len(), 1);
    }
}

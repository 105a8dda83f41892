//! The recorded requests of ../shared/golden against `kwick up --only api`: every answer is what a kube-apiserver's was, but for those that
//! `golden-known.txt` lists, each with its reason.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::instance::{Instance, ensure};
use crate::place::{self, Place};

/// So many cases may be listed, and no more: a list that grows is a server that drifts.
const MOST_KNOWN: usize = 20;

/// Where.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

/// Runs the requests and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let golden = place.workspace("../shared/golden");
    let known = place.workspace("tests/e2e/golden-known.txt");
    let listed = count_known(&known)?;
    ensure(listed <= MOST_KNOWN, || {
        format!("{listed} cases are listed in {}, at most {MOST_KNOWN} may", known.display())
    })?;
    let kwick = Instance::start_with(place, "golden", &["--only", "api"])?;
    let actual = place.scratch("actual.jsonl");
    let mut requests = Command::new("python3");
    requests.arg(golden.join("golden.py")).arg(kwick.api.url()).arg(&actual).arg(kwick.api.token());
    let said = place::output(&mut requests)?;
    println!("{} answers were recorded", said.lines().count());
    let mut compare = Command::new("python3");
    compare
        .arg(golden.join("golden_diff.py"))
        .arg(golden.join("kube-apiserver-1.37.jsonl"))
        .arg(&actual)
        .arg("--known")
        .arg(&known);
    let compared = place::outcome(&mut compare)?;
    let text = String::from_utf8_lossy(&compared.stdout).into_owned();
    println!("{}", text.trim());
    kwick.down()?;
    let (differing, stale) = verdict(&text)?;
    ensure(differing == 0, || format!("{differing} answers differ that are not listed in {}", known.display()))?;
    ensure(stale == 0, || format!("{stale} cases agree though they are listed in {}", known.display()))
}

/// How many cases are listed.
fn count_known(file: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let bare = lines.iter().find(|line| line.split_once(": ").is_none_or(|(_, why)| why.is_empty()));
    ensure(bare.is_none(), || format!("no reason is given in {:?}", bare.copied().unwrap_or_default()))?;
    Ok(lines.len())
}

/// How many cases differ, and how many are listed that do not.
fn verdict(text: &str) -> Result<(u32, usize)> {
    let last = text.lines().last().unwrap_or_default();
    let number = last.strip_suffix(" differ").and_then(|rest| rest.rsplit(' ').next()?.parse().ok());
    let differing = number.with_context(|| format!("golden_diff.py ended with {last:?}"))?;
    Ok((differing, text.lines().filter(|line| line.ends_with(": agrees, though listed as known to differ")).count()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_numbers_are_read() {
        let text = "a: agrees, though listed as known to differ\n243 of 283 agree, 0 known, 40 differ\n";
        assert_eq!(super::verdict(text).unwrap(), (40, 1));
        assert!(super::verdict("Traceback").is_err());
    }

    #[test]
    fn the_list_can_be_read() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden-known.txt");
        assert!(super::count_known(&file).unwrap() <= super::MOST_KNOWN);
    }
}

//! The commands of README.md and of the guide, run as they stand there.
//!
//! Every block whose fence says `sh ci` is run, in order, in one shell for each page that stops at the first failure. The shell finds the built
//! binaries and kubectl on its path, and a throw-away data directory in KWICK_DATA_DIR; it is root, so `sudo` does nothing there.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::place::{self, Place};
use crate::until;

const PAGES: [&str; 2] = ["README.md", "docs/releases.md"];
const FENCE: &str = "```sh ci";
/// With the trap, an interrupted shell ends after the command that it is at, so that none is left running.
const PRELUDE: &str = "set -euo pipefail\ntrap 'exit 1' INT TERM\nsudo() { \"$@\"; }\nset -x\n";

/// Where.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

/// Runs every page.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _scratch = options.place.open()?;
    PAGES.iter().try_for_each(|page| run_page(&options.place, page).with_context(|| format!("the commands of {page}")))
}

fn run_page(place: &Place, page: &str) -> Result<()> {
    let kubectl = place.kubectl().context("they need kubectl")?;
    let text = std::fs::read_to_string(place.workspace(page)).context("cannot read it")?;
    let blocks = blocks(&text);
    if blocks.is_empty() {
        bail!("no block begins with {FENCE}");
    }
    let data = place.scratch("readme");
    let path = std::env::var("PATH").unwrap_or_default();
    let tools =
        kubectl.parent().filter(|folder| *folder != Path::new("")).map(|folder| format!("{}:", folder.display()));
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("{PRELUDE}{}", blocks.join("\n"))).current_dir(place.workspace(""));
    shell.env("PATH", format!("{}:{}{path}", place.bin_dir().display(), tools.unwrap_or_default()));
    shell.env("KWICK_DATA_DIR", &data).env("HOME", place.scratch("home"));
    shell.stdin(Stdio::null()).process_group(0);
    let status = shell.spawn().context("cannot start bash").and_then(|mut shell| until::end_of(&mut shell));
    // Whether or not the commands came to their own `kwick down`.
    let down = place::output(place.kwick(["down", "--delete-data", "--data-dir"]).arg(&data));
    let status = status?;
    if !status.success() {
        bail!("they ended with {status}");
    }
    println!("{} blocks of {page} ran", blocks.len());
    down.map(|_| ())
}

/// The contents of the marked blocks.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line.trim_end() == FENCE) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_marked_blocks_count() {
        let text = "x\n```sh ci\na\nb\n```\n```sh\nno\n```\n```sh ci\nc\n```\n";
        assert_eq!(super::blocks(text), ["a\nb", "c"]);
    }
}

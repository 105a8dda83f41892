//! What a process holds in memory.

use anyhow::{Context, Result};

/// Its proportional set size: what it shares with others counts in part. In 10⁶ bytes.
pub(crate) fn pss_megabytes(pid: i32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("no Pss in {path}"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().context("a Pss that is no number")?;
    Ok(kibibytes * 1024.0 / 1e6)
}

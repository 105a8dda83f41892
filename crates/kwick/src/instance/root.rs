//! Root: who has to be it, and for whom it works.

use anyhow::Result;
use nix::unistd::{getgid, getuid};

use crate::exit::Refused;

/// Refuses a command that only root can do.
pub(crate) fn require(command: &str) -> Result<()> {
    if getuid().is_root() {
        return Ok(());
    }
    Err(Refused::error(
        format!("{command} needs root: it makes namespaces, mounts, cgroups and network links"),
        format!("sudo {command}"),
    ))
}

/// The uid and gid of the person who called: through `sudo`, that person's.
pub(crate) fn invoker() -> (u32, u32) {
    let variable = |name| std::env::var_os(name)?.to_str()?.parse().ok();
    let sudo = (getuid().is_root()).then(|| Some((variable("SUDO_UID")?, variable("SUDO_GID")?))).flatten();
    sudo.unwrap_or((getuid().as_raw(), getgid().as_raw()))
}

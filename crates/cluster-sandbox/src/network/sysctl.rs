//! Kernel settings of the network namespace that this process is in at the moment.

use std::fs;
use std::io;

/// Sets `net.NAME` (with slashes), such as `ipv4/ip_forward`.
pub(super) fn set(name: &str, value: &str) -> io::Result<()> {
    fs::write(path(name), value)
}

/// As [`set`], for a setting that is only there when a kernel module is.
pub(super) fn set_if_present(name: &str, value: &str) -> io::Result<()> {
    match set(name, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The present value of `net.NAME`.
pub(super) fn get(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(name))?.trim().to_owned())
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}

/// New links get no IPv6 address by themselves, which would send packets on each. Not every kernel has IPv6.
pub(super) fn quieten_new_links() -> io::Result<()> {
    set_if_present("ipv6/conf/default/addr_gen_mode", "1")
}

//! Which process listens on a port of this machine, for the message that says why a port cannot be had.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// State `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// `pid 123 (nginx)` for whoever listens on `address` or on the wildcard of its port; nothing if nobody visible does.
pub(crate) fn listener_of(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| inode_listening_on(line, address))
    })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors.find(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == socket.as_str()))?;
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("pid {pid} ({})", name.trim()))
    })
}

/// The inode of the socket in one line of `/proc/net/tcp{,6}` if it listens where `address` would.
fn inode_listening_on(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (host, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let ip = parse_host(host)?;
    let covers = ip.is_unspecified() || ip == address.ip();
    let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
    (state == LISTEN && covers && same_port).then(|| inode.parse().ok())?
}

/// `0100007F` is 127.0.0.1: each 32-bit word in the machine's byte order.
fn parse_host(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_this_process_behind_its_own_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = listener_of(listener.local_addr().unwrap()).unwrap();
        assert!(owner.starts_with(&format!("pid {} (", std::process::id())), "{owner}");
    }

    #[test]
    fn a_wildcard_listener_covers_loopback() {
        let line = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0";
        assert_eq!(inode_listening_on(line, "127.0.0.1:80".parse().unwrap()), Some(777));
        assert_eq!(inode_listening_on(line, "127.0.0.1:81".parse().unwrap()), None);
    }
}

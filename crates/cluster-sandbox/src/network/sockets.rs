//! Sockets of the network namespace that this process is in at the moment. All are non-blocking and close on exec.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::spec::Protocol;

/// How many connections wait while nobody accepts (the kernel lowers it to `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// `count` sockets sharing `address`: TCP ones listen, UDP ones are bound. Returns them with the address, its port filled in.
pub(crate) fn listen(address: SocketAddr, protocol: Protocol, count: u16) -> Result<(Vec<OwnedFd>, SocketAddr), Errno> {
    let mut sockets = Vec::new();
    let mut bound = address;
    for _ in 0..count {
        let socket = open(family(address), protocol)?;
        match protocol {
            // Else a restart would find the address taken by connections that have already ended.
            Protocol::Tcp => sockopt::set_socket_reuseaddr(&socket, true)?,
            Protocol::Udp => {}
        }
        if count > 1 {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        if protocol == Protocol::Tcp {
            rustix::net::listen(&socket, BACKLOG)?;
        }
        bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        sockets.push(socket);
    }
    Ok((sockets, bound))
}

/// `count` unconnected TCP sockets.
pub(crate) fn unconnected(count: u16) -> Result<Vec<OwnedFd>, Errno> {
    (0..count).map(|_| open(AddressFamily::INET, Protocol::Tcp)).collect()
}

fn open(family: AddressFamily, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

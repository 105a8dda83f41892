//! One pod's network, IPC and host name.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::home::{Home, Namespaces};
use super::instance::InstanceNetwork;
use super::{NetworkError, mac_of, port_mac_of, ranges, sockets, sysctl};
use crate::netlink::Socket;
use crate::netlink::route::{self, End, LOOPBACK, LinkIndex, Via};
use crate::spec::{PodListener, Protocol, Ranges};

/// What containers of a pod share, and the sockets that came with it.
#[derive(Debug)]
pub(crate) struct PodNamespaces {
    pub(crate) namespaces: Namespaces,
    /// A socket that answers who listens here.
    pub(crate) diag: OwnedFd,
    /// Configures this namespace.
    route: Socket,
}

/// Sockets asked for at creation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WantedSockets<'a> {
    pub(crate) listeners: &'a [PodListener],
    pub(crate) unconnected: u16,
}

/// Sockets as they were made, in the order asked for.
#[derive(Debug, Default)]
pub(crate) struct MadeSockets {
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) unconnected: Vec<OwnedFd>,
}

impl PodNamespaces {
    /// Makes the namespaces, with loopback and sockets but no link yet. Users of its own are the machine's from `users` on.
    pub(crate) fn create(
        home: &Home,
        (hostname, users): (&str, Option<u32>),
        wanted: WantedSockets<'_>,
    ) -> Result<(Self, MadeSockets), NetworkError> {
        let work = || -> io::Result<_> {
            rustix::system::sethostname(hostname.as_bytes())?;
            // As every runtime does: ports below 1024 and ping without privileges, since the namespace is the pod's own.
            sysctl::set("ipv4/ip_unprivileged_port_start", "0")?;
            sysctl::set_if_present("ipv4/ping_group_range", "0 2147483647")?;
            sysctl::quieten_new_links()?;
            let mut route = Socket::route()?;
            route.change(vec![route::set_up(LOOPBACK)])?;
            Ok((route, Socket::diag()?, make_sockets(wanted, Ipv4Addr::UNSPECIFIED)?))
        };
        let (namespaces, made) =
            home.found_pod(users, work).map_err(NetworkError::system("making a pod's namespaces"))?;
        let (route, diag, sockets) = made.map_err(NetworkError::system("configuring a pod's namespaces"))?;
        Ok((Self { namespaces, diag, route }, sockets))
    }

    /// Gives namespaces that were made ahead their host name, and opens sockets in them.
    pub(crate) fn dress(
        &self,
        home: &Home,
        hostname: &str,
        wanted: WantedSockets<'_>,
    ) -> Result<MadeSockets, NetworkError> {
        let work = || -> io::Result<_> {
            rustix::system::sethostname(hostname.as_bytes())?;
            make_sockets(wanted, Ipv4Addr::UNSPECIFIED)
        };
        let made = home.visit_pod(&self.namespaces, work).and_then(|made| made);
        made.map_err(NetworkError::system("configuring a pod's namespaces"))
    }

    /// The network's namespace.
    pub(crate) fn network(&self) -> BorrowedFd<'_> {
        self.namespaces.net.as_fd()
    }
}

/// Opens sockets in the present network namespace.
pub(crate) fn make_sockets(wanted: WantedSockets<'_>, ip: Ipv4Addr) -> io::Result<MadeSockets> {
    let mut made = MadeSockets::default();
    for listener in wanted.listeners {
        let address = SocketAddr::from((ip, listener.port));
        let (sockets, _) = sockets::listen(address, listener.protocol, 1).map_err(|error| {
            let transport = if listener.protocol == Protocol::Tcp { "TCP" } else { "UDP" };
            io::Error::new(io::Error::from(error).kind(), format!("{transport} {address}: {}", io::Error::from(error)))
        })?;
        made.listeners.extend(sockets);
    }
    made.unconnected = sockets::unconnected(wanted.unconnected)?;
    Ok(made)
}

/// A pod's link to the instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodLink {
    /// The instance's end, as I numbers it.
    pub(crate) index: LinkIndex,
    /// The pod's address.
    pub(crate) ip: Ipv4Addr,
}

impl InstanceNetwork {
    /// Joins a pod to the instance under the address `ip`. `number` makes the link's name unique.
    pub(crate) fn join(&mut self, pod: &mut PodNamespaces, ip: Ipv4Addr, number: u32) -> Result<PodLink, NetworkError> {
        let gateway = ranges::gateway(self.facts().ranges);
        let name = format!("p{number}");
        let here = End { name: &name, mac: port_mac_of(ip), alias: None };
        let there = End { name: "eth0", mac: mac_of(ip), alias: None };
        let net = pod.namespaces.net.as_fd();
        self.socket
            .change(vec![route::new_veth(here, there, net)])
            .map_err(NetworkError::system("making a pod's link"))?;
        let failed = NetworkError::system("configuring a pod's network");
        let eth0 =
            route::find_link(&mut pod.route, "eth0").map_err(NetworkError::system("finding a pod's link"))?.index;
        // No other address is on this link: a pod never asks for its neighbours, so that none of them can answer with a lie. They are
        // reached through the instance, which knows who is where and asks nobody either.
        pod.route
            .change(vec![
                route::set_up(eth0),
                route::new_address(eth0, ip, 32),
                route::new_route((Ipv4Addr::UNSPECIFIED, 0), Via::Gateway(eth0, gateway)),
                route::new_neighbour(eth0, gateway, port_mac_of(ip)),
            ])
            .map_err(failed)?;
        // Both ends' carriers, see `find_link`.
        route::get_link(&mut pod.route, eth0).map_err(NetworkError::system("confirming a pod's link"))?;
        let index =
            route::find_link(&mut self.socket, &name).map_err(NetworkError::system("confirming a pod's link"))?.index;
        self.socket
            .change(vec![route::new_neighbour(index, ip, mac_of(ip)), route::new_route((ip, 32), Via::Link(index))])
            .map_err(NetworkError::system("making a pod's route"))?;
        Ok(PodLink { index, ip })
    }

    /// Forgets a pod whose namespace is being closed. Its link goes with the namespace.
    pub(crate) fn part(&mut self, link: PodLink) {
        if let Err(error) = self.socket.change(vec![route::delete_route((link.ip, 32), Via::Link(link.index))]) {
            tracing::debug!(ip = %link.ip, %error, "a pod's route was not there");
        }
    }

    /// Deletes a link that has outlived its pod because somebody still holds a socket of it. Whether there was one.
    pub(crate) fn delete_if_left(&mut self, link: PodLink) -> bool {
        let is_left = route::get_link(&mut self.socket, link.index).is_ok();
        if is_left && let Err(error) = self.socket.change(vec![route::delete_link(link.index)]) {
            tracing::warn!(ip = %link.ip, %error, "a pod's link could not be deleted");
        }
        is_left
    }
}

/// Hands out pod addresses, the one that was free longest first.
#[derive(Debug)]
pub(crate) struct Addresses {
    range: (Ipv4Addr, u8),
    used: BTreeSet<u32>,
    next: u32,
}

impl Addresses {
    /// All addresses of the pod range but its first (the network's), second (the gateway) and last (broadcast).
    pub(crate) fn new(ranges: Ranges) -> Self {
        Self { range: ranges.pods, used: BTreeSet::new(), next: FIRST_HOST }
    }

    /// Takes the address asked for, or the next free one.
    pub(crate) fn take(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, NetworkError> {
        let base = self.range.0.to_bits();
        let end = ranges::size(self.range).saturating_sub(1);
        if let Some(ip) = wanted {
            let host = ip.to_bits().wrapping_sub(base);
            let is_free = (FIRST_HOST..end).contains(&host) && self.used.insert(host);
            return if is_free { Ok(ip) } else { Err(NetworkError::AddressTaken(ip)) };
        }
        let host = (self.next..end).chain(FIRST_HOST..self.next).find(|host| !self.used.contains(host));
        let host = host.ok_or(NetworkError::RangeFull(self.range.0))?;
        self.used.insert(host);
        self.next = host + 1;
        Ok(Ipv4Addr::from_bits(base + host))
    }

    /// Gives an address back.
    pub(crate) fn free(&mut self, ip: Ipv4Addr) {
        self.used.remove(&ip.to_bits().wrapping_sub(self.range.0.to_bits()));
    }
}

const FIRST_HOST: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_used_again_as_late_as_possible() {
        let pods = (Ipv4Addr::new(10, 0, 0, 0), 29);
        let mut addresses = Addresses::new(Ranges { pods, services: pods, link: pods });
        let mut take = |wanted| addresses.take(wanted).map(|ip| ip.octets()[3]);
        assert_eq!((take(None).unwrap(), take(None).unwrap()), (2, 3));
        assert_eq!(take(Some(Ipv4Addr::new(10, 0, 0, 5))).unwrap(), 5);
        for taken in [[10, 0, 0, 5], [10, 0, 0, 1], [10, 0, 0, 0], [10, 0, 0, 7], [10, 0, 1, 2], [9, 255, 255, 255]] {
            assert!(matches!(take(Some(taken.into())), Err(NetworkError::AddressTaken(_))), "{taken:?}");
        }
        addresses.free(Ipv4Addr::new(10, 0, 0, 2));
        let mut take = |wanted| addresses.take(wanted).map(|ip| ip.octets()[3]);
        assert_eq!((take(None).unwrap(), take(None).unwrap()), (4, 6));
        assert_eq!(take(None).unwrap(), 2, "the freed one comes last");
        assert!(matches!(take(None), Err(NetworkError::RangeFull(_))));
    }
}

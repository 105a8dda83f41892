//! The instance's own network namespace: made once at the spawner's start, gone with it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::thread::{Timespec, nanosleep};

use super::egress::{self, Egress};
use super::home::Home;
use super::{NetworkError, mac_of, ranges, sysctl};
use crate::netlink::Socket;
use crate::netlink::route::{self, End, LOOPBACK, LinkIndex, Via};
use crate::spec::{InstanceId, NetworkFacts, Ranges};

/// The instance's network: its namespace, and its link to the host.
#[derive(Debug)]
pub(crate) struct InstanceNetwork {
    /// The namespace I.
    pub(crate) namespace: OwnedFd,
    /// Configures I.
    pub(crate) socket: Socket,
    facts: NetworkFacts,
    host: Socket,
    host_link: LinkIndex,
    egress: Egress,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) instance: &'a InstanceId,
    pub(crate) previous: Option<Ranges>,
    pub(crate) has_egress: bool,
}

const UPLINK: &str = "host0";
/// How often a choice of names and ranges may turn out to be taken between looking and making.
const ATTEMPTS: u32 = 8;
/// How often, and how many times, ranges that the instance had before are looked at again: the kernel removes a killed spawner's network
/// in the background, and other ranges would leave every ClusterIP that clients know outside.
const LOOK_EVERY_MS: i64 = 10;
const LOOKS: u32 = 100;

impl InstanceNetwork {
    /// Makes the network. Problems that leave it usable, such as a missing firewall, are told in `notices`.
    pub(crate) fn create(wanted: Wanted<'_>, home: &Home, notices: &mut Vec<String>) -> Result<Self, NetworkError> {
        let mut host = Socket::route().map_err(NetworkError::system("opening a netlink socket"))?;
        let mut attempt = 0;
        loop {
            let chosen = choose(wanted, &mut host)?;
            let link = format!("kw{:08x}", ranges::hash(wanted.instance).wrapping_add(attempt));
            match Self::create_as(wanted, chosen, &link, home, host, notices) {
                Ok(network) => return Ok(network),
                // Somebody else, perhaps another instance starting now, was faster.
                Err((error, back)) if error.is_exists() && attempt < ATTEMPTS => {
                    host = back;
                    attempt += 1;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn create_as(
        wanted: Wanted<'_>,
        chosen: Ranges,
        link: &str,
        home: &Home,
        mut host: Socket,
        notices: &mut Vec<String>,
    ) -> Result<Self, (NetworkError, Socket)> {
        let made = Inside::create(home).and_then(|mut inside| {
            let egress = Egress::plan(wanted, link, &mut host)?;
            let ends = ranges::link_ends(chosen);
            let note = egress.alias(wanted.instance);
            let host_link = join(&mut host, &mut inside, link, &note, ends)?;
            Ok((inside, egress, host_link, note))
        });
        let (mut inside, mut egress, host_link, note) = match made {
            Ok(made) => made,
            Err(error) => return Err((error, host)),
        };
        let configured = configure_host(&mut host, host_link, chosen)
            .and_then(|()| inside.configure(chosen))
            .and_then(|()| confirm(&mut host, host_link));
        if let Err(error) = configured {
            // Best effort: the error that led here is the one to tell.
            let _ = host.change(vec![route::delete_link(host_link)]);
            return Err((error, host));
        }
        egress.install((link, &note), chosen, notices);
        let (host_ip, instance_ip) = ranges::link_ends(chosen);
        let facts = NetworkFacts {
            ranges: chosen,
            link: link.to_owned(),
            host_ip,
            instance_ip,
            bridge_ip: ranges::gateway(chosen),
            has_egress: egress.is_open(),
            is_host_shielded: egress.is_host_shielded(),
        };
        Ok(Self { namespace: inside.namespace, socket: inside.socket, facts, host, host_link, egress })
    }

    /// What others may know of it.
    pub(crate) fn facts(&self) -> &NetworkFacts {
        &self.facts
    }

    /// Holds `ip` as an address of I itself.
    pub(crate) fn hold(&mut self, ip: Ipv4Addr) -> Result<(), NetworkError> {
        let message = route::new_address(LOOPBACK, ip, 32);
        self.socket.change(vec![message]).map_err(NetworkError::system("adding an address to the instance"))
    }

    /// Gives up an address held by [`hold`](Self::hold).
    pub(crate) fn release(&mut self, ip: Ipv4Addr) {
        if let Err(error) = self.socket.change(vec![route::delete_address(LOOPBACK, ip, 32)]) {
            tracing::warn!(%ip, %error, "an address of the instance could not be removed");
        }
    }

    /// Takes the network down: the host's end of the link, with it the routes, and what was changed on the host. The namespace goes when
    /// the last socket of it is closed.
    pub(crate) fn destroy(mut self) {
        self.egress.undo(&mut self.host, self.host_link);
        if let Err(error) = self.host.change(vec![route::delete_link(self.host_link)]) {
            tracing::warn!(link = self.facts.link, %error, "the link to the instance could not be deleted");
        }
    }
}

/// The namespace I while it is being made.
struct Inside {
    namespace: OwnedFd,
    socket: Socket,
}

impl Inside {
    fn create(home: &Home) -> Result<Self, NetworkError> {
        let work = || Socket::route().and_then(|socket| set_sysctls().map(|()| socket));
        let (namespace, socket) =
            home.found_network(work).map_err(NetworkError::system("making the instance's network namespace"))?;
        let socket = socket.map_err(NetworkError::system("configuring the instance's network namespace"))?;
        Ok(Self { namespace, socket })
    }

    fn configure(&mut self, chosen: Ranges) -> Result<(), NetworkError> {
        let (host_ip, instance_ip) = ranges::link_ends(chosen);
        self.change("setting the loopback up", vec![route::set_up(LOOPBACK)])?;
        let uplink = self.find(UPLINK)?;
        self.change(
            "configuring the instance's network",
            vec![
                route::set_up(uplink),
                route::new_address(uplink, instance_ip, chosen.link.1),
                route::new_address(LOOPBACK, ranges::gateway(chosen), 32),
                // Pods have routes of their own. What is for nobody would go back to the host, which would send it here again.
                route::new_route(chosen.pods, Via::Nowhere),
                route::new_route(chosen.services, Via::Local),
                route::new_route((Ipv4Addr::UNSPECIFIED, 0), Via::Gateway(uplink, host_ip)),
                route::new_neighbour(uplink, host_ip, mac_of(host_ip)),
            ],
        )?;
        // The carrier of both ends, see `find_link`.
        self.find(UPLINK)?;
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<LinkIndex, NetworkError> {
        let found = route::find_link(&mut self.socket, name);
        found.map(|link| link.index).map_err(NetworkError::system(format!("finding the link {name}")))
    }

    fn change(&mut self, what: &str, messages: Vec<crate::netlink::message::Message>) -> Result<(), NetworkError> {
        self.socket.change(messages).map_err(NetworkError::system(what))
    }
}

/// Values are set, never inherited: a new namespace copies some from the host, which differ between distributions.
fn set_sysctls() -> io::Result<()> {
    sysctl::quieten_new_links()?;
    sysctl::set("ipv4/ip_forward", "1")?;
    sysctl::set("ipv4/conf/all/send_redirects", "0")?;
    sysctl::set("ipv4/conf/default/send_redirects", "0")?;
    // The unprivileged client binds passed sockets to low ports of service addresses.
    sysctl::set("ipv4/ip_unprivileged_port_start", "0")?;
    // Strict; the greater of the two counts. Links take it over when they are made.
    sysctl::set("ipv4/conf/all/rp_filter", "1")?;
    sysctl::set("ipv4/conf/default/rp_filter", "1")?;
    Ok(())
}

/// Joins host and instance; returns the host's end.
fn join(
    host: &mut Socket,
    inside: &mut Inside,
    link: &str,
    alias: &str,
    (host_ip, instance_ip): (Ipv4Addr, Ipv4Addr),
) -> Result<LinkIndex, NetworkError> {
    let here = End { name: link, mac: mac_of(host_ip), alias: Some(alias) };
    let there = End { name: UPLINK, mac: mac_of(instance_ip), alias: None };
    let message = route::new_veth(here, there, inside.namespace.as_fd());
    host.change(vec![message]).map_err(NetworkError::system(format!("making the link {link}")))?;
    let found = route::find_link(host, link).map_err(NetworkError::system(format!("finding the link {link}")))?;
    Ok(found.index)
}

fn configure_host(host: &mut Socket, link: LinkIndex, chosen: Ranges) -> Result<(), NetworkError> {
    let (host_ip, instance_ip) = ranges::link_ends(chosen);
    host.change(vec![
        route::new_address(link, host_ip, chosen.link.1),
        route::new_neighbour(link, instance_ip, mac_of(instance_ip)),
        route::new_route(chosen.pods, Via::Gateway(link, instance_ip)),
        route::new_route(chosen.services, Via::Gateway(link, instance_ip)),
    ])
    .map_err(NetworkError::system("adding routes to the instance"))
}

/// The ranges that the instance had, as soon as they are free; others if that takes too long.
fn choose(wanted: Wanted<'_>, host: &mut Socket) -> Result<Ranges, NetworkError> {
    let mut looks = 0;
    loop {
        let used = route::used_ranges(host).map_err(NetworkError::system("listing addresses and routes"))?;
        let chosen = ranges::choose(wanted.instance, wanted.previous, &used).ok_or(NetworkError::NoFreeRange)?;
        if looks >= LOOKS || wanted.previous.is_none_or(|previous| chosen == previous) {
            return Ok(chosen);
        }
        looks += 1;
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY_MS * 1_000_000 };
        // Woken early, it only looks once more.
        let _ = nanosleep(&pause);
    }
}

/// The host's end of the link after the other one is up; see `find_link`.
fn confirm(host: &mut Socket, link: LinkIndex) -> Result<(), NetworkError> {
    route::get_link(host, link).map(|_| ()).map_err(NetworkError::system("confirming the link to the instance"))
}

/// Removes what a spawner of this name left on the host: links (with their routes), changed settings, firewall tables.
pub(crate) fn remove_leftovers(instance: &InstanceId) -> Result<Vec<String>, NetworkError> {
    let mut host = Socket::route().map_err(NetworkError::system("opening a netlink socket"))?;
    let links = route::all_links(&mut host).map_err(NetworkError::system("listing links"))?;
    let mut removed = Vec::new();
    for link in links.iter().filter(|link| egress::is_link_of(&link.alias, instance)) {
        Egress::left_behind(link).undo(&mut host, link.index);
        match host.change(vec![route::delete_link(link.index)]) {
            Ok(()) | Err(Errno::NODEV) => removed.push(link.name.clone()),
            Err(error) => return Err(NetworkError::system(format!("deleting the link {}", link.name))(error)),
        }
    }
    let links = route::all_links(&mut host).map_err(NetworkError::system("listing links"))?;
    egress::remove_orphans(&links, &mut host);
    Ok(removed)
}

//! Links, firewall, routes.

use std::net::Ipv4Addr;

use super::Fact;
use crate::netlink::Socket;
use crate::netlink::route::{self, End};
use crate::network::egress;
use crate::network::{mac_of, port_mac_of};

pub(super) fn check() -> Vec<Fact> {
    let mut facts = vec![links()];
    facts.push(match egress::firewall() {
        Ok(rules) => match egress::foreign_drop(&rules) {
            None => Fact::good("firewall", "nft works, and nothing else drops what pods send outside"),
            Some(chain) => {
                let reason = format!("{chain} drops forwarded packets: pods do not reach the outside");
                Fact::degraded("firewall", reason, "allow forwarding from and to links named kw* in that firewall")
            }
        },
        Err(error) => {
            let reason = format!(
                "nft cannot be used ({error}): pods do not reach the outside, but do reach this machine's own listeners"
            );
            Fact::degraded("firewall", reason, "install nftables")
        }
    });
    facts
}

/// Makes a veth pair in a namespace that nobody else sees.
fn links() -> Fact {
    let made = std::thread::spawn(|| {
        crate::sys::namespaces::unshare(rustix::thread::UnshareFlags::NEWNET)?;
        let here = std::fs::File::open("/proc/thread-self/ns/net")?;
        let mut socket = Socket::route()?;
        let ip = Ipv4Addr::LOCALHOST;
        let (one, other) = (
            End { name: "one", mac: mac_of(ip), alias: None },
            End { name: "other", mac: port_mac_of(ip), alias: None },
        );
        use std::os::fd::AsFd;
        socket.change(vec![route::new_veth(one, other, here.as_fd())])?;
        Ok::<(), std::io::Error>(())
    });
    match made.join() {
        Ok(Ok(())) => Fact::good("links", "veth pairs can be made"),
        Ok(Err(error)) => {
            let reason = format!("a veth pair cannot be made: {error}");
            Fact::missing("links", reason, "load the module \"veth\"")
        }
        Err(_) => Fact::missing("links", "the check failed", ""),
    }
}

pub(super) fn uplink() -> Fact {
    let links = Socket::route().and_then(|mut socket| Ok(route::default_route_links(&mut socket)?));
    match links {
        Ok(links) if !links.is_empty() => Fact::good("uplink", "there is a default route for pods to go out by"),
        Ok(_) => Fact::degraded(
            "uplink",
            "there is no default route: pods reach nothing outside",
            "connect the machine to a network",
        ),
        Err(error) => Fact::degraded("uplink", format!("routes cannot be listed: {error}"), ""),
    }
}

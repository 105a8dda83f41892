//! The instance's network, pods' networks in it, and sockets made in either.
//!
//! ```text
//!  host            instance namespace I                        pod namespace P
//!  kwXXXXXXXX ──── host0   p1 ───────────────────────────────── eth0
//!  169.254.a.1/30  .2/30   route to 10.x.y.z                    10.x.y.z, default route to the gateway
//!                          lo: service range and gateway,       lo
//!                              `local`
//! ```
//! Every instance has one namespace I, joined to the host by one link, so that nothing of one disturbs another or the host: host routes for
//! the pod and the service range lead into I. The gateway is the pods' first address. What is set, and why, was measured: a fresh veth pair needs
//! one RTM_GETLINK on each end, or first packets are lost; pods' MACs follow from their addresses and neighbours are permanent, so there is no
//! ARP and nothing stale when an address is used again.
//!
//! A pod is alone on its link, and reaches everybody through I's routes. I believes no sender: a packet whose answer would not go out by the
//! link that it came in by is dropped (strict reverse path filtering). So a pod can neither draw its neighbours' packets nor send as one of them.
//!
//! A pod's network is taken down by closing what pins its namespace, never by deleting a link while someone waits.

pub(crate) mod egress;
pub(crate) mod home;
pub(crate) mod instance;
pub(crate) mod pod;
pub(crate) mod ranges;
pub(crate) mod sockets;
mod sysctl;
pub(crate) mod users;

use std::io;
use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::netlink::route::Mac;

/// Why a network could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A system call on a namespace, socket or file failed.
    #[error("{what}")]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No free address range was found.
    #[error("every candidate for the instance's address ranges clashes with an address or a route of this machine")]
    NoFreeRange,
    /// No free pod address is left.
    #[error("the pod range {0} has no free address left")]
    RangeFull(Ipv4Addr),
    /// The address asked for is not free, or not in the pod range.
    #[error("address {0} is not a free address of the pod range")]
    AddressTaken(Ipv4Addr),
}

impl NetworkError {
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System { what, source: source.into() }
    }

    /// Whether something has the name or the place already.
    pub(crate) fn is_exists(&self) -> bool {
        let exists = Errno::EXIST.raw_os_error();
        matches!(self, Self::System { source, .. } if source.raw_os_error() == Some(exists))
    }
}

/// A pod's MAC, from its address: the same address always has the same one.
pub(crate) fn mac_of(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// The MAC of I's end of a pod's link.
pub(crate) fn port_mac_of(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0e, 0x58, a, b, c, d]
}

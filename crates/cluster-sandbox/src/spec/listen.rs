//! Listening sockets that the spawner keeps, so that connections wait in their queues while the client is away.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{ListenerName, PodId};

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// A stream.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// Whose addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The machine's own.
    Host,
    /// The instance's network: service addresses, the pods' gateway.
    Instance,
    /// A pod's. They end with it.
    Pod(PodId),
}

/// A set of sockets on one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSpec {
    /// What the set is called. Asking again with the same words gives the same sockets; with others it is refused until `unlisten`.
    pub name: ListenerName,
    /// Where the address is one.
    pub place: Place,
    /// The address. Port 0 lets the kernel choose; the answer says what. In the instance's network it is never the wildcard one.
    pub address: SocketAddr,
    /// TCP sockets listen, UDP sockets are bound.
    pub protocol: Protocol,
    /// How many sockets share the address (SO_REUSEPORT when more than one), 1 to 64.
    pub sockets: u16,
}

//! Links, addresses, routes and neighbours: the messages that make, find and delete them (`rtnetlink(7)`).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::Socket;
use super::message::{CREATE, EXCL, Message, REPLACE, number};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;

const LINK_FIXED_BYTES: usize = 16;
const ADDRESS_FIXED_BYTES: usize = 8;
const ROUTE_FIXED_BYTES: usize = 12;
const NEIGHBOUR_FIXED_BYTES: usize = 12;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const TYPE_UNREACHABLE: u8 = 7;
const NUD_PERMANENT: u16 = 0x80;
const RTNH_F_ONLINK: u32 = 4;

/// An address on an Ethernet.
pub(crate) type Mac = [u8; 6];

/// The index by which a namespace knows one of its links.
pub(crate) type LinkIndex = u32;

/// The loopback's index, in every namespace.
pub(crate) const LOOPBACK: LinkIndex = 1;

fn link_fixed(index: LinkIndex, flags: u32, changed: u32) -> [u8; LINK_FIXED_BYTES] {
    let mut fixed = [0; LINK_FIXED_BYTES];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&changed.to_ne_bytes());
    fixed
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'text> {
    pub(crate) name: &'text str,
    pub(crate) mac: Mac,
    /// What a person sees, and how leftovers are found.
    pub(crate) alias: Option<&'text str>,
}

/// A veth pair: `here`, up, in this namespace, and `there` inside the namespace `peer_namespace`.
///
/// The far end is born inside its namespace, which costs a fifth of moving it. It must not be set up in this same message.
pub(crate) fn new_veth(here: End<'_>, there: End<'_>, peer_namespace: BorrowedFd<'_>) -> Message {
    let message = Message::new(NEWLINK, CREATE | EXCL, &link_fixed(0, IFF_UP, IFF_UP));
    described(message, here).nest(IFLA_LINKINFO, &[], |info| {
        info.with_text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, &[], |data| {
            data.nest(VETH_INFO_PEER, &link_fixed(0, 0, 0), |peer| {
                described(peer, there).with_u32(IFLA_NET_NS_FD, peer_namespace.as_raw_fd().cast_unsigned())
            })
        })
    })
}

fn described(message: Message, end: End<'_>) -> Message {
    let message = message.with_text(IFLA_IFNAME, end.name).with(IFLA_ADDRESS, end.mac);
    match end.alias {
        Some(alias) => message.with(IFLA_IFALIAS, alias.as_bytes()),
        None => message,
    }
}

/// Sets a link up.
pub(crate) fn set_up(index: LinkIndex) -> Message {
    Message::new(NEWLINK, 0, &link_fixed(index, IFF_UP, IFF_UP))
}

/// Deletes a link; for a veth also its other end, and every route over it. Takes some 20 ms.
pub(crate) fn delete_link(index: LinkIndex) -> Message {
    Message::new(DELLINK, 0, &link_fixed(index, 0, 0))
}

/// An address of a link, with the length of its network's prefix.
pub(crate) fn new_address(index: LinkIndex, ip: Ipv4Addr, prefix: u8) -> Message {
    let mut fixed = [AF_INET, prefix, 0, SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    Message::new(NEWADDR, CREATE | REPLACE, &fixed).with(IFA_LOCAL, ip.octets()).with(IFA_ADDRESS, ip.octets())
}

/// Takes an address from a link.
pub(crate) fn delete_address(index: LinkIndex, ip: Ipv4Addr, prefix: u8) -> Message {
    let mut fixed = [AF_INET, prefix, 0, SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    Message::new(DELADDR, 0, &fixed).with(IFA_LOCAL, ip.octets())
}

/// Where packets for some addresses go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Via {
    /// Over a link to a gateway that is on it, whatever other routes say.
    Gateway(LinkIndex, Ipv4Addr),
    /// To who is on a link.
    Link(LinkIndex),
    /// They are for this namespace itself.
    Local,
    /// Nowhere: who sends them is told so.
    Nowhere,
}

/// A route to `destination` (first address and prefix length; 0.0.0.0/0 is the default). Only one to who is on a link takes the place of
/// another.
pub(crate) fn new_route(destination: (Ipv4Addr, u8), via: Via) -> Message {
    let flags = if matches!(via, Via::Link(_)) { REPLACE } else { EXCL };
    route(NEWROUTE, CREATE | flags, destination, via)
}

/// Forgets a route.
pub(crate) fn delete_route(destination: (Ipv4Addr, u8), via: Via) -> Message {
    route(DELROUTE, 0, destination, via)
}

fn route(kind: u16, flags: u16, (ip, prefix): (Ipv4Addr, u8), via: Via) -> Message {
    let (table, scope, route_type) = match via {
        Via::Gateway(..) => (TABLE_MAIN, SCOPE_UNIVERSE, TYPE_UNICAST),
        Via::Link(_) => (TABLE_MAIN, SCOPE_LINK, TYPE_UNICAST),
        Via::Local => (TABLE_LOCAL, SCOPE_HOST, TYPE_LOCAL),
        Via::Nowhere => (TABLE_MAIN, SCOPE_UNIVERSE, TYPE_UNREACHABLE),
    };
    let on_link = if matches!(via, Via::Gateway(..)) { RTNH_F_ONLINK } else { 0 };
    let mut fixed = [AF_INET, prefix, 0, 0, table, PROTOCOL_STATIC, scope, route_type, 0, 0, 0, 0];
    fixed[8..].copy_from_slice(&on_link.to_ne_bytes());
    let mut message = Message::new(kind, flags, &fixed);
    if prefix > 0 {
        message = message.with(RTA_DST, ip.octets());
    }
    match via {
        Via::Gateway(link, gateway) => message.with_u32(RTA_OIF, link).with(RTA_GATEWAY, gateway.octets()),
        Via::Link(link) => message.with_u32(RTA_OIF, link),
        Via::Local => message.with_u32(RTA_OIF, LOOPBACK),
        Via::Nowhere => message,
    }
}

/// A neighbour that is never asked for by ARP.
pub(crate) fn new_neighbour(link: LinkIndex, ip: Ipv4Addr, mac: Mac) -> Message {
    let mut fixed = [0; NEIGHBOUR_FIXED_BYTES];
    fixed[0] = AF_INET;
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    Message::new(NEWNEIGH, CREATE | REPLACE, &fixed).with(NDA_DST, ip.octets()).with(NDA_LLADDR, mac)
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: LinkIndex,
    pub(crate) name: String,
    pub(crate) alias: String,
}

/// The link of a name. Asking also makes the kernel run a pending carrier change of that link at once: without it, a fresh veth pair
/// drops its first packets in a fifth of cases, and TCP repeats a lost SYN after a second.
pub(crate) fn find_link(socket: &mut Socket, name: &str) -> Result<Link, Errno> {
    let question = Message::new(GETLINK, 0, &link_fixed(0, 0, 0)).with_text(IFLA_IFNAME, name);
    one_link(socket, question)
}

/// As [`find_link`], by index.
pub(crate) fn get_link(socket: &mut Socket, index: LinkIndex) -> Result<Link, Errno> {
    one_link(socket, Message::new(GETLINK, 0, &link_fixed(index, 0, 0)))
}

fn one_link(socket: &mut Socket, question: Message) -> Result<Link, Errno> {
    let mut links = Vec::new();
    socket.ask(question, false, |reply| links.extend(parse_link(&reply)))?;
    links.pop().ok_or(Errno::NODEV)
}

/// Every link of the namespace.
pub(crate) fn all_links(socket: &mut Socket) -> Result<Vec<Link>, Errno> {
    let mut links = Vec::new();
    socket.ask(Message::new(GETLINK, 0, &link_fixed(0, 0, 0)), true, |reply| links.extend(parse_link(&reply)))?;
    Ok(links)
}

fn parse_link(reply: &super::message::Reply<'_>) -> Option<Link> {
    let index = u32::from_ne_bytes(number(reply.content, 4)?);
    let text = |kind| {
        let value = reply.attributes(LINK_FIXED_BYTES).get(kind).unwrap_or_default();
        String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
    };
    Some(Link { index, name: text(IFLA_IFNAME), alias: text(IFLA_IFALIAS) })
}

/// Every IPv4 range that the namespace's addresses and routes speak of, except the default route: what a new range must not overlap.
pub(crate) fn used_ranges(socket: &mut Socket) -> Result<Vec<(Ipv4Addr, u8)>, Errno> {
    let mut used = Vec::new();
    let mut fixed = [0; ADDRESS_FIXED_BYTES];
    fixed[0] = AF_INET;
    socket.ask(Message::new(GETADDR, 0, &fixed), true, |reply| {
        let prefix = reply.content.get(1).copied();
        let ip = reply.attributes(ADDRESS_FIXED_BYTES).get(IFA_ADDRESS).and_then(|value| number::<4>(value, 0));
        used.extend(ip.zip(prefix).map(|(ip, prefix)| (Ipv4Addr::from(ip), prefix)));
    })?;
    let mut fixed = [0; ROUTE_FIXED_BYTES];
    fixed[0] = AF_INET;
    socket.ask(Message::new(GETROUTE, 0, &fixed), true, |reply| {
        let prefix = reply.content.get(1).copied();
        let ip = reply.attributes(ROUTE_FIXED_BYTES).get(RTA_DST).and_then(|value| number::<4>(value, 0));
        used.extend(ip.zip(prefix).map(|(ip, prefix)| (Ipv4Addr::from(ip), prefix)));
    })?;
    Ok(used)
}

/// The links over which default routes go.
pub(crate) fn default_route_links(socket: &mut Socket) -> Result<Vec<LinkIndex>, Errno> {
    let mut links = Vec::new();
    let mut fixed = [0; ROUTE_FIXED_BYTES];
    fixed[0] = AF_INET;
    socket.ask(Message::new(GETROUTE, 0, &fixed), true, |reply| {
        let is_default = reply.content.get(1) == Some(&0) && reply.content.get(4) == Some(&TABLE_MAIN);
        let link = reply.attributes(ROUTE_FIXED_BYTES).get(RTA_OIF).and_then(|value| number(value, 0));
        links.extend(link.filter(|_| is_default).map(u32::from_ne_bytes));
    })?;
    links.sort_unstable();
    links.dedup();
    Ok(links)
}

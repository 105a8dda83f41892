//! Asking which sockets listen (`sock_diag(7)`): 3 µs a question, no privilege, no packet, nothing that the asked program could notice.

use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::message::{Message, replies};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const REQUEST_BYTES: usize = 56;
const REPLY_MAX_BYTES: usize = 1024;

/// Whether a TCP socket of the namespace in which `socket` was made listens for connections to `address`. Sockets bound to the wildcard
/// address count, IPv6 ones too unless they take IPv6 only.
pub(crate) fn is_listening(socket: BorrowedFd<'_>, address: SocketAddrV4) -> Result<bool, Errno> {
    let mut question = Message::new(SOCK_DIAG_BY_FAMILY, 0, &request(address));
    question.finish(1, 0);
    rustix::net::send(socket, question.bytes(), SendFlags::empty())?;
    let mut buffer = [0; REPLY_MAX_BYTES];
    // The kernel answers inside `send`, so there is nothing to wait for.
    let (received, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::DONTWAIT)?;
    let reply = replies(buffer.get(..received).unwrap_or_default()).next().ok_or(Errno::PROTO)?;
    match reply.error() {
        Some(code) if code == -libc::ENOENT => Ok(false),
        Some(code) => Err(Errno::from_raw_os_error(-code)),
        None => Ok(reply.content.get(1) == Some(&TCP_LISTEN)),
    }
}

/// `struct inet_diag_req_v2`: family, protocol, wanted states, and the socket's own address as "source".
fn request(address: SocketAddrV4) -> [u8; REQUEST_BYTES] {
    const COOKIE_AT: usize = 48;
    let mut request = [0; REQUEST_BYTES];
    request[0] = AF_INET;
    request[1] = IPPROTO_TCP;
    request[4..8].copy_from_slice(&(1_u32 << TCP_LISTEN).to_ne_bytes());
    request[8..10].copy_from_slice(&address.port().to_be_bytes());
    request[12..16].copy_from_slice(&address.ip().octets());
    request[COOKIE_AT..].copy_from_slice(&[0xff; 8]);
    request
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::AsFd;

    use super::super::Socket;
    use super::*;

    #[test]
    fn a_listener_is_seen_and_its_end_too() {
        let socket = Socket::diag().unwrap();
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
            assert!(is_listening(socket.as_fd(), address).unwrap(), "{bound}");
            drop(listener);
            assert!(!is_listening(socket.as_fd(), address).unwrap(), "{bound}");
        }
    }
}

//! Questions about names outside of the cluster: asked of the machine's own servers, in their order, each given a moment.
//!
//! Each question has a socket, a port and an identifier of its own, and only an answer that repeats the question counts. A client that asks
//! by TCP is asked for by TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::exchange::UDP_MAX_BYTES;
use super::{PORT, Upstream};

/// Servers that are asked, as resolvers do.
const SERVERS_MAX: usize = 3;
/// How long one server has. All of them together stay below the 5 s after which resolvers ask again.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long the servers of a file are believed.
const FILE_TTL: Duration = Duration::from_secs(5);
/// What is read of such a file.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// In one datagram.
    Udp,
    /// With its length before it.
    Tcp,
}

/// Asks other servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    upstream: Upstream,
    /// This server, which must not ask itself.
    own: SocketAddr,
    read: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
}

impl Forwarder {
    pub(super) fn new(upstream: Upstream, own: SocketAddr) -> Self {
        Self { upstream, own, read: Mutex::new(None) }
    }

    /// The first answer of a server; none if nobody gives one.
    pub(super) async fn ask(&self, request: &Message, query: Query, transport: Transport) -> Option<Message> {
        let mut message = Message::query();
        message.metadata.recursion_desired = request.metadata.recursion_desired;
        message.metadata.checking_disabled = request.metadata.checking_disabled;
        message.add_query(query);
        message.edns = request.edns.as_ref().map(|edns| {
            let mut own = Edns::new();
            own.set_max_payload(UDP_MAX_BYTES).set_dnssec_ok(edns.flags().dnssec_ok);
            own
        });
        let bytes = message.to_vec().ok()?;
        for server in self.servers().await.iter().filter(|server| **server != self.own) {
            let answer = match transport {
                Transport::Udp => timeout(SERVER_TIMEOUT, by_udp(*server, &bytes, &message)).await,
                Transport::Tcp => timeout(SERVER_TIMEOUT, by_tcp(*server, &bytes, &message)).await,
            };
            match answer {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server failed"),
                Err(_) => tracing::debug!(%server, "a name server did not answer in time"),
            }
        }
        None
    }

    async fn servers(&self) -> Arc<[SocketAddr]> {
        let path = match &self.upstream {
            Upstream::Servers(servers) => return servers.iter().take(SERVERS_MAX).copied().collect(),
            Upstream::ResolvConf(path) => path,
        };
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((read_at, servers)) = known
            && read_at.elapsed() < FILE_TTL
        {
            return servers;
        }
        let servers: Arc<[SocketAddr]> = match read(path).await {
            Ok(text) => parse(&text).into(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read which name servers this machine has");
                Arc::new([])
            }
        };
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&servers)));
        servers
    }
}

async fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    tokio::fs::File::open(path).await?.take(FILE_MAX_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

/// The servers of a `resolv.conf`; this machine's own port 53 if it names none, as resolvers do.
pub(super) fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = if words.next() == Some("nameserver") { words.next() } else { None };
        address?.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT))
    };
    let servers: Vec<SocketAddr> = text.lines().filter_map(server).take(SERVERS_MAX).collect();
    if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, PORT).into()] } else { servers }
}

async fn by_udp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(asked, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    send(&mut stream, bytes).await?;
    let answer = receive(&mut stream).await?;
    answer_to(asked, &answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not one to the question"))
}

/// Writes a message and its length.
pub(super) async fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the message is longer than 65535 bytes");
    let length = u16::try_from(bytes.len()).map_err(too_long)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await
}

/// Reads a message by its length.
pub(super) async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The message, if it answers what was asked.
fn answer_to(asked: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_answer = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == asked.metadata.id
        && answer.queries == asked.queries;
    is_answer.then_some(answer)
}

//! Connections to a Pod's ports over channels: for each one for data, and one for what goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_rt::Tasks;
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::idle::Idle;
use super::spdy::Headers;
use super::wire::{Gone, Incoming, Outgoing, Wire, send};
use super::{Dialing, PodPorts};

/// So many connections at once in one session.
const CONNECTIONS_MAX: usize = 512;
/// Chunks that may wait for a connection.
const QUEUE: usize = 8;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 32 << 10;
/// How long a client may go on writing once the other side has said everything. Some clients cannot say that they have, too.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// Forwards until the client is gone. Whoever does not open channels has asked for ports before; that ends when all connections have.
pub(super) async fn run(mut wire: Wire, ports: Arc<dyn PodPorts>, asked: Option<Vec<u16>>, tasks: Tasks) {
    let (done, mut all_done) = mpsc::channel(1);
    let opens = asked.is_none();
    let mut forwarding = Forwarding {
        ports,
        out: wire.outgoing.clone(),
        idle: Idle::new(),
        tasks,
        // Whoever opens channels may always open another.
        done: Some(done),
        waiting: BTreeMap::new(),
        connections: BTreeMap::new(),
    };
    if forwarding.begin(asked.unwrap_or_default()).await.is_err() {
        return;
    }
    if !opens {
        forwarding.done = None;
    }
    let idle = forwarding.idle.clone();
    let is_over = tokio::select! {
        biased;
        outcome = forwarding.serve(&mut wire) => outcome.is_ok(),
        _ = all_done.recv() => true,
        () = idle.over() => true,
    };
    drop(forwarding);
    if is_over {
        wire.finish().await;
    }
}

struct Forwarding {
    ports: Arc<dyn PodPorts>,
    out: mpsc::Sender<Outgoing>,
    idle: Idle,
    tasks: Tasks,
    /// Closed by the end of every connection.
    done: Option<mpsc::Sender<()>>,
    /// Channels for errors that have no data channel yet, by the request that they belong to.
    waiting: BTreeMap<String, u32>,
    /// By their data channels.
    connections: BTreeMap<u32, Connection>,
}

/// A connection under way; it ends when this is dropped.
struct Connection {
    /// Takes what the client says, as long as it says something.
    input: Option<mpsc::Sender<Bytes>>,
    error: u32,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarding {
    /// Connects to ports that were asked for before: the channels are numbered by them, and begin with the port.
    async fn begin(&mut self, ports: Vec<u16>) -> Result<(), Gone> {
        for (number, port) in (0_u32..).zip(ports) {
            let (data, error) = (number * 2, number * 2 + 1);
            for channel in [data, error] {
                let port = Bytes::copy_from_slice(&port.to_le_bytes());
                send(&self.out, Outgoing::Data(channel, port)).await?;
            }
            self.connect(data, error, port);
        }
        Ok(())
    }

    async fn serve(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        while let Some(said) = wire.incoming.next().await {
            self.idle.touch();
            match said.map_err(|_| Gone)? {
                Incoming::Opened(channel, headers) => self.open(channel, &headers).await?,
                Incoming::Data(channel, bytes) => {
                    let input = self.connections.get(&channel).and_then(|connection| connection.input.clone());
                    // A connection that has ended takes nothing more.
                    if let Some(input) = input {
                        let _ = input.send(bytes).await;
                    }
                }
                Incoming::Closed(channel) => {
                    if let Some(connection) = self.connections.get_mut(&channel) {
                        connection.input = None;
                    }
                }
                Incoming::Reset(channel) => {
                    if let Some(connection) = self.connections.remove(&channel) {
                        send(&self.out, Outgoing::Close(connection.error)).await?;
                    }
                }
            }
        }
        Err(Gone)
    }

    /// A client opens the channel for errors first, then the one for data, both with the same `requestid`.
    async fn open(&mut self, channel: u32, headers: &Headers) -> Result<(), Gone> {
        let text = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let request = text("requestid");
        self.connections.retain(|_, connection| !connection.task.is_finished());
        let is_full = self.connections.len() + self.waiting.len() >= CONNECTIONS_MAX;
        let port = text("port").parse().ok().filter(|port: &u16| *port > 0);
        match (text("streamtype").as_str(), port) {
            ("error", Some(_)) if !is_full && !self.waiting.contains_key(&request) => {
                self.waiting.insert(request, channel);
                Ok(())
            }
            ("data", Some(port)) if self.waiting.contains_key(&request) => {
                let error = self.waiting.remove(&request).unwrap_or_default();
                self.connect(channel, error, port);
                Ok(())
            }
            _ => send(&self.out, Outgoing::Reset(channel)).await,
        }
    }

    fn connect(&mut self, data: u32, error: u32, port: u16) {
        let (input, queue) = mpsc::channel(QUEUE);
        let ends = Ends { data, error, queue, out: self.out.clone(), idle: self.idle.clone() };
        let (dialing, done) = (self.ports.dial(port), self.done.clone());
        let task = self.tasks.spawn_transient("apiserver/forward", async move {
            // A client that is gone ends everything by itself.
            let _ = ends.forward(dialing).await;
            drop(done);
        });
        self.connections.insert(data, Connection { input: Some(input), error, task });
    }
}

/// One connection's channels.
struct Ends {
    data: u32,
    error: u32,
    queue: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Outgoing>,
    idle: Idle,
}

impl Ends {
    async fn forward(self, dialing: Dialing) -> Result<(), Gone> {
        let Self { data, error, queue, out, idle } = self;
        match dialing.await {
            Ok(stream) => {
                copy(stream, queue, (data, &out), &idle).await?;
            }
            Err(why) => {
                send(&out, Outgoing::Data(error, why.into())).await?;
                send(&out, Outgoing::Close(data)).await?;
            }
        }
        send(&out, Outgoing::Close(error)).await
    }
}

/// Copies both ways, until both sides have said everything.
async fn copy(
    stream: TcpStream,
    mut queue: mpsc::Receiver<Bytes>,
    (data, out): (u32, &mpsc::Sender<Outgoing>),
    idle: &Idle,
) -> Result<(), Gone> {
    let (reader, mut writer) = stream.into_split();
    let up = async {
        while let Some(bytes) = queue.recv().await {
            // Who does not take it may still have something to say.
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let down = down(reader, (data, out), idle);
    let mut up = std::pin::pin!(up);
    let mut down = std::pin::pin!(down);
    tokio::select! {
        biased;
        outcome = &mut down => {
            outcome?;
            let _ = tokio::time::timeout(HALF_CLOSED, up).await;
            Ok(())
        }
        () = &mut up => down.await,
    }
}

async fn down(mut reader: OwnedReadHalf, (data, out): (u32, &mpsc::Sender<Outgoing>), idle: &Idle) -> Result<(), Gone> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = reader.read(&mut chunk).await {
        idle.touch();
        let bytes = Bytes::copy_from_slice(chunk.get(..count).unwrap_or_default());
        send(out, Outgoing::Data(data, bytes)).await?;
    }
    send(out, Outgoing::Close(data)).await
}

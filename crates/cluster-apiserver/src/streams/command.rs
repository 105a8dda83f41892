//! A program's input and output over channels, and how it ended.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::idle::Idle;
use super::wire::{Gone, Incoming, Outgoing, Wire, send};
use super::{OutputStream, PodSession, StartingSession};
use crate::status::StatusError;

/// How long a client may take to open its channels.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it is waited for more output once a program has ended: what it has started may hold its output open for ever.
const QUIET: Duration = Duration::from_secs(1);
/// Chunks of input that may wait for the program.
const INPUT_QUEUE: usize = 8;
/// The longest text that says a terminal's size.
const SIZE_MAX_BYTES: usize = 256;

/// Which channels a client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) resize: bool,
    /// Whether the program is started for it.
    pub(super) is_exec: bool,
}

/// The channels' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Channels {
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    error: Option<u32>,
    resize: Option<u32>,
}

impl Channels {
    /// As websockets number them.
    fn fixed(wanted: Wanted) -> Self {
        Self {
            stdin: wanted.stdin.then_some(0),
            stdout: wanted.stdout.then_some(1),
            stderr: wanted.stderr.then_some(2),
            error: Some(3),
            resize: wanted.resize.then_some(4),
        }
    }

    fn are_complete(&self, wanted: Wanted) -> bool {
        let there = |channel: Option<u32>, wanted: bool| channel.is_some() || !wanted;
        self.error.is_some()
            && there(self.stdin, wanted.stdin)
            && there(self.stdout, wanted.stdout)
            && there(self.stderr, wanted.stderr)
            && there(self.resize, wanted.resize)
    }

    /// As the client opens them, each with a header that says what it is.
    async fn opened(wire: &mut Wire, wanted: Wanted) -> Option<Self> {
        let mut channels = Self::default();
        while !channels.are_complete(wanted) {
            let Some(Ok(Incoming::Opened(id, headers))) = wire.incoming.next().await else { return None };
            let place = match headers.get("streamtype").map(String::as_str) {
                Some("stdin") => &mut channels.stdin,
                Some("stdout") => &mut channels.stdout,
                Some("stderr") => &mut channels.stderr,
                Some("error") => &mut channels.error,
                Some("resize") => &mut channels.resize,
                _ => return None,
            };
            *place = Some(id);
        }
        Some(channels)
    }
}

/// Has the conversation, over channels of fixed numbers or, if the client opens them, over those.
pub(super) async fn run(mut wire: Wire, starting: StartingSession, wanted: Wanted, opens: bool) {
    let channels = if opens {
        let opening = tokio::time::timeout(OPEN_TIMEOUT, Channels::opened(&mut wire, wanted));
        let Ok(Some(channels)) = opening.await else { return wire.finish().await };
        channels
    } else {
        Channels::fixed(wanted)
    };
    // Some clients wait for a first word, though it is empty.
    let first = channels.stdout.or(channels.stderr).or(channels.error).unwrap_or_default();
    if !opens && send(&wire.outgoing, Outgoing::Data(first, Bytes::new())).await.is_err() {
        return;
    }
    let outcome = match starting.await {
        Ok(session) => Conversation { channels, idle: Idle::new() }.have(&mut wire, session).await,
        Err(why) => Ok(Err(why)),
    };
    if let Ok(outcome) = outcome
        && tell(&wire.outgoing, channels, &status(outcome, wanted.is_exec)).await.is_ok()
    {
        wire.finish().await;
    }
}

async fn tell(out: &mpsc::Sender<Outgoing>, channels: Channels, status: &Value) -> Result<(), Gone> {
    if let Some(error) = channels.error {
        send(out, Outgoing::Data(error, status.to_string().into())).await?;
    }
    // Some clients wait for the end of each.
    let all = [channels.stdin, channels.stdout, channels.stderr, channels.error, channels.resize];
    for channel in all.into_iter().flatten() {
        send(out, Outgoing::Close(channel)).await?;
    }
    Ok(())
}

/// What the client is told at the end.
fn status(outcome: Result<i32, String>, is_exec: bool) -> Value {
    match outcome {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(why) => {
            let what = if is_exec { "executing command in container" } else { "attaching to container" };
            StatusError::internal(&format!("error {what}: {why}")).to_value()
        }
    }
}

type Ended = Shared<BoxFuture<'static, Result<i32, String>>>;

struct Conversation {
    channels: Channels,
    idle: Idle,
}

impl Conversation {
    /// Until the program has ended and everything is said, or the client is gone.
    async fn have(&self, wire: &mut Wire, session: PodSession) -> Result<Result<i32, String>, Gone> {
        let PodSession { stdin, stdout, stderr, resize, ended } = session;
        let ended: Ended = ended.shared();
        let (input, queue) = mpsc::channel(INPUT_QUEUE);
        let out = wire.outgoing.clone();
        let hearing = self.hear(wire, input, resize);
        let talking = async {
            let stdout = self.pass_on(stdout, self.channels.stdout, &out, &ended);
            let stderr = async {
                match stderr {
                    Some(stderr) => self.pass_on(stderr, self.channels.stderr, &out, &ended).await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(stdout, stderr)?;
            Ok(ended.clone().await)
        };
        tokio::select! {
            biased;
            outcome = talking => outcome,
            () = hearing => Err(Gone),
            () = feed(stdin, queue) => Err(Gone),
            () = self.idle.over() => Ok(Err("nothing has been said for too long".to_owned())),
        }
    }

    /// Takes what the client says, until it is gone.
    async fn hear(
        &self,
        wire: &mut Wire,
        input: mpsc::Sender<Bytes>,
        resize: Option<Box<dyn Fn(u16, u16) + Send + Sync>>,
    ) {
        let (mut input, mut sizes) = (Some(input), Sizes::default());
        while let Some(Ok(said)) = wire.incoming.next().await {
            self.idle.touch();
            match said {
                Incoming::Data(channel, bytes) if Some(channel) == self.channels.stdin => {
                    // A program that does not read makes the client wait.
                    if let Some(to) = &input
                        && to.send(bytes).await.is_err()
                    {
                        input = None;
                    }
                }
                Incoming::Data(channel, bytes) if Some(channel) == self.channels.resize => {
                    if let (Some(size), Some(resize)) = (sizes.take(&bytes), &resize) {
                        resize(size.width, size.height);
                    }
                }
                Incoming::Closed(channel) | Incoming::Reset(channel) if Some(channel) == self.channels.stdin => {
                    input = None;
                }
                _ => {}
            }
        }
    }

    /// Passes one output on, until it ends, or the program has and it is quiet.
    async fn pass_on(
        &self,
        mut from: OutputStream,
        to: Option<u32>,
        out: &mpsc::Sender<Outgoing>,
        ended: &Ended,
    ) -> Result<(), Gone> {
        loop {
            let quiet = async {
                let _ = ended.clone().await;
                tokio::time::sleep(QUIET).await;
            };
            let chunk = tokio::select! {
                biased;
                chunk = from.next() => chunk,
                () = quiet => None,
            };
            let Some(chunk) = chunk else { return Ok(()) };
            self.idle.touch();
            if let Some(channel) = to {
                send(out, Outgoing::Data(channel, chunk)).await?;
            }
        }
    }
}

/// Writes what comes to the program's input, and ends that when nothing more comes. Never ends itself.
async fn feed(stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>, mut queue: mpsc::Receiver<Bytes>) {
    if let Some(mut stdin) = stdin {
        let outcome: io::Result<()> = async {
            while let Some(bytes) = queue.recv().await {
                stdin.write_all(&bytes).await?;
            }
            stdin.shutdown().await
        }
        .await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "a program does not read its input to the end");
        }
    }
    // Nobody reads any more; what still comes is dropped by who hears it.
    drop(queue);
    std::future::pending().await
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Sizes of a terminal, one JSON object after the other, however they are cut.
#[derive(Default)]
struct Sizes(Vec<u8>);

impl Sizes {
    /// The last size that is complete.
    fn take(&mut self, bytes: &[u8]) -> Option<Size> {
        self.0.extend_from_slice(bytes);
        let mut sizes = serde_json::Deserializer::from_slice(&self.0).into_iter::<Size>();
        let last = sizes.by_ref().map_while(Result::ok).last();
        let read = sizes.byte_offset();
        self.0.drain(..read.min(self.0.len()));
        if self.0.len() > SIZE_MAX_BYTES {
            // It is none.
            self.0.clear();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_come_however_they_are_cut() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.take(b"{\"Width\":80,\"Hei"), None);
        assert_eq!(sizes.take(b"ght\":24}\n"), Some(Size { width: 80, height: 24 }));
        let two = b"{\"Width\":1,\"Height\":2}{\"Width\":3,\"Height\":4}";
        assert_eq!(sizes.take(two), Some(Size { width: 3, height: 4 }));
        assert!(sizes.0.is_empty());
    }

    #[test]
    fn the_end_is_told_as_kubelets_tell_it() {
        assert_eq!(status(Ok(0), true), json!({"metadata": {}, "status": "Success"}));
        let failed = status(Ok(3), true);
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        let refused = status(Err("no".to_owned()), true);
        assert_eq!(refused["message"], "Internal error occurred: error executing command in container: no");
    }

    proptest! {
        #[test]
        fn garbage_is_no_size(garbage in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut sizes = Sizes::default();
            for piece in garbage.chunks(7) {
                let _ = sizes.take(piece);
                prop_assert!(sizes.0.len() <= SIZE_MAX_BYTES + 7);
            }
        }
    }
}

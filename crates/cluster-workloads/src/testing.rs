//! Rows of reconcilers' tests: objects given, a time, and the plan that follows, as YAML beside the code. And what tests of the network need:
//! an API with fixed objects, and sockets at loopback in place of service addresses.
//!
//! `UPDATE_GOLDEN=1 cargo test -p cluster-workloads` writes what came out into the files instead of comparing it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base_controller::{Context, ContextConfig, GroupKind, Object};
use base_rt::metrics::Scope;
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks, Timestamp};
use bytes::Bytes;
use cluster_sandbox::spec::Protocol;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::Value;

use crate::service_ip::{Front, ServiceSocketError, ServiceSockets};

const NOW: &str = "2026-01-01T00:00:00Z";

/// One case.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    case: String,
    #[serde(default = "default_now")]
    pub(crate) now: Timestamp,
    #[serde(default)]
    pub(crate) config: Value,
    given: Vec<Value>,
    #[serde(default)]
    then: Value,
}

fn default_now() -> Timestamp {
    NOW.parse().unwrap()
}

impl Row {
    /// A case without an expectation.
    pub(crate) fn of(given: Vec<Value>) -> Self {
        Self { case: String::new(), now: default_now(), config: Value::Null, given, then: Value::Null }
    }

    /// The row as YAML: an object or change is one line.
    fn text(&self) -> String {
        let line = |value: &Value| serde_json::to_string(value).unwrap();
        let list = |indent: &str, values: &[Value]| -> String {
            values.iter().map(|value| format!("{indent}- {}\n", line(value))).collect()
        };
        let mut text = format!("- case: {:?}\n  now: {}\n", self.case, self.now);
        if !self.config.is_null() {
            text += &format!("  config: {}\n", line(&self.config));
        }
        text += &format!("  given:\n{}  then:\n", list("    ", &self.given));
        for (name, value) in self.then.as_object().expect("a plan is an object") {
            text += &match value {
                Value::Array(values) if !values.is_empty() => format!("    {name}:\n{}", list("      ", values)),
                value => format!("    {name}: {}\n", line(value)),
            };
        }
        text
    }

    /// Every object of a kind.
    pub(crate) fn all<K: Object + Resource<DynamicType = ()>>(&self) -> Vec<Arc<K>> {
        let kind = GroupKind::of::<K>();
        let is_of = |object: &&Value| {
            let api_version = object["apiVersion"].as_str().expect("an object has an apiVersion");
            object["kind"] == kind.kind() && api_version.split_once('/').map_or("", |(group, _)| group) == kind.group()
        };
        let decode = |object: &Value| {
            let decoded = serde_json::from_value(object.clone());
            Arc::new(decoded.unwrap_or_else(|error| panic!("{}: {error}: {object}", self.case)))
        };
        self.given.iter().filter(is_of).map(decode).collect()
    }

    /// The first object of a kind.
    pub(crate) fn one<K: Object + Resource<DynamicType = ()>>(&self) -> Arc<K> {
        self.all().into_iter().next().unwrap_or_else(|| panic!("{}: no {}", self.case, K::kind(&())))
    }
}

/// The cases of one file.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Rows {
    /// The rows of a file, by its path within the crate.
    pub(crate) fn load(path: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let rows = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, rows }
    }

    /// Compares what `plan` makes of each row with the row, or writes it down.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests decides, by the environment")]
    pub(crate) fn check(mut self, plan: impl Fn(&Row) -> Value) {
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            for row in &mut self.rows {
                row.then = plan(row);
            }
            let text: String = self.rows.iter().map(Row::text).collect();
            std::fs::write(&self.path, text).unwrap();
            return;
        }
        for row in &self.rows {
            let planned = plan(row);
            let shown = || serde_json::to_string_pretty(&planned).unwrap();
            assert_eq!(planned, row.then, "{}: {}\n{}", self.path.display(), row.case, shown());
        }
    }
}

/// An API that has these objects, and never any other.
pub(crate) fn api_of(objects: Vec<Value>) -> Client {
    let objects = Arc::new(objects);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let objects = Arc::clone(&objects);
        async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let body = if is_watch {
                StreamBody::new(stream::pending().boxed())
            } else {
                list(&objects, request.uri().path())
            };
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    Client::new(service, "default")
}

type ApiBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn list(objects: &[Value], path: &str) -> ApiBody {
    let kind = match path.rsplit('/').next() {
        Some("services") => "Service",
        Some("pods") => "Pod",
        Some("persistentvolumes") => "PersistentVolume",
        _ => "EndpointSlice",
    };
    let items: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let list =
        serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
    StreamBody::new(stream::once(async move { Ok(Frame::data(Bytes::from(list.to_string()))) }).boxed())
}

/// What a part of this crate needs of its process, over [`api_of`].
pub(crate) fn context_of(objects: Vec<Value>) -> (Context, ShutdownHandle) {
    let (handle, shutdown) = Shutdown::new();
    let config = ContextConfig {
        client: api_of(objects),
        clock: Clock::system(),
        tasks: Tasks::new(shutdown),
        metrics: Scope::root(),
        seed: 0,
        component: "test",
    };
    (Context::new(config), handle)
}

/// Sockets of this machine's loopback address, standing for those of a service range.
#[derive(Debug, Default)]
pub(crate) struct LoopbackSockets(Mutex<BTreeMap<Front, Kept>>);

#[derive(Debug)]
enum Kept {
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// Cannot be opened.
    Broken,
}

impl LoopbackSockets {
    /// Where the front is reached.
    pub(crate) fn at(&self, front: Front) -> SocketAddr {
        match self.0.lock().unwrap().get(&front).unwrap_or_else(|| panic!("{front} is not open")) {
            Kept::Tcp(listener) => listener.local_addr().unwrap(),
            Kept::Udp(socket) => socket.local_addr().unwrap(),
            Kept::Broken => panic!("{front} is broken"),
        }
    }

    /// From here on the front cannot be opened, or can again.
    pub(crate) fn set_broken(&self, front: Front, is_broken: bool) {
        let mut kept = self.0.lock().unwrap();
        if is_broken {
            kept.insert(front, Kept::Broken)
        } else {
            kept.remove(&front)
        };
    }

    fn open(&self, front: Front) -> std::io::Result<Kept> {
        let mut kept = self.0.lock().unwrap();
        let made = match kept.entry(front) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(match front.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind("127.0.0.1:0")?;
                    listener.set_nonblocking(true)?;
                    Kept::Tcp(listener)
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind("127.0.0.1:0")?;
                    socket.set_nonblocking(true)?;
                    Kept::Udp(socket)
                }
            }),
        };
        match made {
            Kept::Tcp(listener) => listener.try_clone().map(Kept::Tcp),
            Kept::Udp(socket) => socket.try_clone().map(Kept::Udp),
            Kept::Broken => Err(std::io::ErrorKind::AddrInUse.into()),
        }
    }
}

impl ServiceSockets for LoopbackSockets {
    fn listen_tcp(&self, address: SocketAddr) -> BoxFuture<'_, Result<TcpListener, ServiceSocketError>> {
        let front = Front { protocol: Protocol::Tcp, address };
        Box::pin(async move {
            match self.open(front) {
                Ok(Kept::Tcp(listener)) => Ok(listener),
                Ok(_) => panic!("{front} is not TCP"),
                Err(error) => Err(ServiceSocketError::new("listening at", front, error)),
            }
        })
    }

    fn listen_udp(&self, address: SocketAddr) -> BoxFuture<'_, Result<UdpSocket, ServiceSocketError>> {
        let front = Front { protocol: Protocol::Udp, address };
        Box::pin(async move {
            match self.open(front) {
                Ok(Kept::Udp(socket)) => Ok(socket),
                Ok(_) => panic!("{front} is not UDP"),
                Err(error) => Err(ServiceSocketError::new("listening at", front, error)),
            }
        })
    }

    fn close(&self, front: Front) -> BoxFuture<'_, Result<(), ServiceSocketError>> {
        self.0.lock().unwrap().remove(&front);
        Box::pin(async { Ok(()) })
    }

    fn kept(&self) -> BoxFuture<'_, Result<Vec<Front>, ServiceSocketError>> {
        let kept = self.0.lock().unwrap().keys().copied().collect();
        Box::pin(async { Ok(kept) })
    }
}

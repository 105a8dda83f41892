//! What the API costs beside a real kube-apiserver and its etcd: the server with one processor to itself, sixteen clients on another, both
//! servers syncing every write to the disk. First one is measured, then the other, with the same requests.

mod server;

use std::io;
use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Baseline, Figure};
use crate::instance::{Instance, timed};
use crate::memory::pss_megabytes;
use crate::place::Place;
use server::{Kube, Server};

const CLIENTS: usize = 16;
const WATCHERS: usize = 100;
const LISTED: usize = 5_000;
const SERVER_CPU: usize = 0;
const CLIENTS_CPU: usize = 1;
const CONDITIONS: &str = "one core for the server, 16 clients on another, HTTPS, JSON, ConfigMaps of 300 bytes, every write synced to the disk";

/// How much is asked.
struct Amount {
    rounds: usize,
    /// Of each client in a round.
    creates: usize,
    gets: usize,
    updates: usize,
    lists: usize,
}

/// Samples of one server; rates per second, and megabytes.
#[derive(Default)]
struct Samples {
    creates: Vec<f64>,
    gets: Vec<f64>,
    deliveries: Vec<f64>,
    lists: Vec<f64>,
    memory: Vec<f64>,
}

/// Rates of create, get, watch and list, and the memory after all that.
pub(super) fn api(place: &Place) -> Result<Vec<Figure>> {
    let amount = if place.full {
        Amount { rounds: 7, creates: 100, gets: 400, updates: 50, lists: 10 }
    } else {
        Amount { rounds: 3, creates: 50, gets: 200, updates: 25, lists: 4 }
    };
    let kwick = on(SERVER_CPU, || Instance::start_with(place, "api", &["--only", "api"]))?;
    let ours = measure(&Server::of(&kwick)?, &amount)?;
    kwick.down()?;
    let theirs = match kube(place, &amount) {
        Ok(theirs) => Ok(theirs),
        Err(error) => Err(format!("{error:#}")),
    };
    let figure = |name: &str, unit, of: fn(&Samples) -> &Vec<f64>, how: &str| {
        let baseline = match &theirs {
            Ok(theirs) => Baseline::Samples("kube-apiserver 1.37 with etcd 3.7".to_owned(), of(theirs).clone()),
            Err(why) => Baseline::Missing(why.clone()),
        };
        Figure::new(name, unit, of(&ours), baseline, &format!("{how}; {CONDITIONS}"))
    };
    Ok(vec![
        figure("API create", "requests/s", |samples| &samples.creates, "new objects")?,
        figure("API get", "requests/s", |samples| &samples.gets, "one object")?,
        figure("API watch", "events/s", |samples| &samples.deliveries, "updates by all clients, seen by 100 watches")?,
        figure("API list", "lists/s", |samples| &samples.lists, "5,000 objects, whole, by one client")?,
        figure("API memory", "MB", |samples| &samples.memory, "PSS of the server's processes after all of these")?,
    ])
}

fn kube(place: &Place, amount: &Amount) -> Result<Samples> {
    let kube = on(SERVER_CPU, || Kube::start(place))?;
    measure(&kube.server, amount)
}

fn measure(server: &Server, amount: &Amount) -> Result<Samples> {
    on(CLIENTS_CPU, || {
        let mut samples = Samples::default();
        for namespace in ["made", "watched", "listed"] {
            let body = json!({"metadata": {"name": namespace}}).to_string();
            server.connect()?.ask("POST", "/api/v1/namespaces", body.as_bytes())?;
        }
        create(server, "listed", 0, LISTED / CLIENTS + 1)?;
        for round in 0..amount.rounds {
            samples.creates.push(create(server, "made", round, amount.creates)?);
            samples.gets.push(each(server, amount.gets, |_, _| ("GET", format!("{}/0-0-0", maps("made")), None))?);
            samples.deliveries.push(watch(server, round, amount.updates)?);
            samples.lists.push(list(server, amount.lists)?);
        }
        let sizes: Vec<f64> = server.pids.iter().map(|pid| pss_megabytes(*pid)).collect::<Result<_>>()?;
        samples.memory.push(sizes.iter().sum());
        Ok(samples)
    })
}

fn maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn map(name: &str, value: usize) -> Value {
    let text = format!("{value:0>200}");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "bench"}}, "data": {"value": text}})
}

/// So many new objects of each client; per second.
fn create(server: &Server, namespace: &str, round: usize, count: usize) -> Result<f64> {
    let path = maps(namespace);
    each(server, count, |client, number| {
        ("POST", path.clone(), Some(map(&format!("{round}-{client}-{number}"), number)))
    })
}

/// Whole lists of the many objects, one after another; per second.
fn list(server: &Server, count: usize) -> Result<f64> {
    let mut client = server.connect()?;
    let path = maps("listed");
    let ((), took) = timed(|| {
        for _ in 0..count {
            let body = client.ask("GET", &path, b"")?;
            if body.len() < LISTED * 200 {
                bail!("a list of {} bytes is not whole", body.len());
            }
        }
        Ok(())
    })?;
    Ok(count as f64 / took.as_secs_f64())
}

/// Updates by every client of an object of its own, each seen by every watch; events that arrived, per second.
fn watch(server: &Server, round: usize, updates: usize) -> Result<f64> {
    let path = maps("watched");
    create(server, "watched", round, 1)?;
    let now: Value = serde_json::from_slice(&server.connect()?.ask("GET", &path, b"")?)?;
    let revision = now["metadata"]["resourceVersion"].as_str().context("a list without a revision")?;
    let watched = format!("{path}?watch=1&resourceVersion={revision}");
    let begin = Barrier::new(WATCHERS + 1);
    let events = CLIENTS * updates;
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS).map(|_| scope.spawn(|| see(server, &watched, events, &begin))).collect();
        begin.wait();
        let begun = Instant::now();
        each(server, updates, |client, number| {
            let name = format!("{round}-{client}-0");
            ("PUT", format!("{path}/{name}"), Some(map(&name, number + 1)))
        })?;
        for watcher in watchers {
            watcher.join().ok().context("a watcher ended early")??;
        }
        Ok((events * WATCHERS) as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Opens a watch and reads so many events.
fn see(server: &Server, path: &str, events: usize, begin: &Barrier) -> Result<()> {
    let opened = server.connect().and_then(|mut client| client.open("GET", path, b""));
    // Whoever could not open one does not hold up the others.
    begin.wait();
    let mut answer = opened?;
    if answer.status != 200 {
        bail!("a watch was answered {}", answer.status);
    }
    let (mut seen, mut buffer) = (0, vec![0; 64 << 10]);
    while seen < events {
        let count = io::Read::read(&mut answer, &mut buffer)?;
        if count == 0 {
            bail!("a watch ended after {seen} of {events} events");
        }
        seen += buffer.iter().take(count).filter(|byte| **byte == b'\n').count();
    }
    Ok(())
}

/// So many requests of each client, all clients at once; per second. `request` is given the client and the request's number.
fn each(
    server: &Server,
    count: usize,
    request: impl Fn(usize, usize) -> (&'static str, String, Option<Value>) + Sync,
) -> Result<f64> {
    let begin = Barrier::new(CLIENTS + 1);
    let call = |client: usize| -> Result<()> {
        let connected = server.connect();
        begin.wait();
        let mut connection = connected?;
        for number in 0..count {
            let (method, path, body) = request(client, number);
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            connection.ask(method, &path, body.as_bytes())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let call = &call;
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || call(client))).collect();
        begin.wait();
        let begun = Instant::now();
        for client in clients {
            client.join().ok().context("a client ended early")??;
        }
        Ok((count * CLIENTS) as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Does something on one processor; what is started meanwhile stays there.
fn on<T>(cpu: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(this, &one).with_context(|| format!("there is no processor {cpu} for this"))?;
    let done = act();
    sched_setaffinity(this, &before)?;
    done
}

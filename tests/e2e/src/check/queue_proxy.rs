//! `kwick queue-proxy` as a process, as nodes start it that do not have it built in.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::http::{Request, Target};
use crate::instance::ensure;
use crate::place::{Place, Running, output};
use crate::until::{until, until_true};

/// What a Revision's Deployment tells its queue-proxy.
const ENVIRONMENT: [(&str, &str); 14] = [
    ("SERVING_NAMESPACE", "default"),
    ("SERVING_SERVICE", "hello"),
    ("SERVING_CONFIGURATION", "hello"),
    ("SERVING_REVISION", "hello-00001"),
    ("QUEUE_SERVING_PORT", "8012"),
    ("QUEUE_SERVING_TLS_PORT", "8112"),
    ("CONTAINER_CONCURRENCY", "0"),
    ("REVISION_TIMEOUT_SECONDS", "300"),
    ("SERVING_POD", "hello-00001-deployment-abc"),
    ("SERVING_POD_IP", "127.0.0.1"),
    ("SERVING_LOGGING_CONFIG", ""),
    ("SERVING_LOGGING_LEVEL", ""),
    ("USER_PORT", "8080"),
    ("SERVING_READINESS_PROBE", r#"{"tcpSocket":{"port":8080}}"#),
];

/// In front of the sample it answers, probes and reports; told to end, it says so.
pub(super) fn process(place: &Place) -> Result<String> {
    // Its ports are fixed: it gets a network of its own, which is this thread's and its children's.
    std::thread::scope(|scope| {
        let checking = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
            in_front_of_hello(place)
        });
        checking.join().ok().context("the check panicked")?
    })
}

fn in_front_of_hello(place: &Place) -> Result<String> {
    let _user = Running::start(Command::new(place.binary("hello")).env("PORT", "8080").env("TARGET", "sidecar"))?;
    let queue = Running::start(place.kwick(["queue-proxy"]).env_clear().envs(ENVIRONMENT))?;
    let probe = [("Host", "h"), ("User-Agent", "kube-probe/1.34"), ("K-Network-Probe", "queue")];
    until("readiness", std::time::Duration::from_secs(60), || match ask(8012, "/", &probe)? {
        (200, _) => Ok(Some(())),
        (status, body) => bail!("{status} {body}"),
    })?;
    let (status, answer) = ask(8012, "/", &[("Host", "hello.example")])?;
    ensure(status == 200 && answer.starts_with("Hello sidecar!"), || format!("it answered {status} {answer:?}"))?;
    let (status, stat) = ask(9090, "/metrics", &[("Host", "h")])?;
    ensure(status == 200 && stat.contains("hello-00001-deployment-abc"), || {
        format!("its report is {status} {stat:?}")
    })?;
    queue.signal(Signal::SIGTERM)?;
    until_true("the end of readiness", std::time::Duration::from_secs(60), || {
        Ok(ask(8012, "/", &probe)? == (503, "shutting down".to_owned()))
    })?;
    let (status, _) = ask(8012, "/", &[("Host", "hello.example")])?;
    ensure(status == 200, || format!("while it drains it answers {status}"))?;
    Ok(answer.trim().to_owned())
}

fn ask(port: u16, path: &str, headers: &[(&str, &str)]) -> Result<(u16, String)> {
    let target = Target::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let (status, body) = target.ask(&Request { method: "GET", path, headers, body: b"" })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

//! A Pod's network as this process reaches it: sockets out of it, which of its ports listen, and what its `resolv.conf` says.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_net::connect::SocketSupply;
use base_rt::Tasks;
use base_rt::watch;
use cluster_sandbox::spec::{Dns, HostAlias, PodId};
use cluster_sandbox::{Sandbox, listening};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use socket2::SockRef;
use tokio::sync::mpsc;

use super::worker::Message;

/// Sockets that are kept ready for a Pod with a role of this process in it.
const READY: usize = 16;
/// Below so many, more are fetched.
const LOW: usize = 6;
/// Sockets fetched at once for a Pod that needs few: its probes.
const FEW: u16 = 4;

/// How often a Pod is asked which of its ports listen: at first, for how long, and at most.
const EAGER_EVERY: Duration = Duration::from_micros(500);
const EAGER_FOR: Duration = Duration::from_millis(50);
const EVERY_MAX: Duration = Duration::from_millis(10);
/// A Pod that has not listened for so long is asked rarely.
const PATIENT_AFTER: Duration = Duration::from_secs(10);
const PATIENT_EVERY: Duration = Duration::from_millis(200);

/// Unconnected sockets of a Pod's network. Clones share them.
#[derive(Clone)]
pub(crate) struct PodSockets(Arc<Shared>);

struct Shared {
    sandbox: Sandbox,
    pod: PodId,
    tasks: Tasks,
    /// How many are kept.
    kept: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Vec<OwnedFd>,
    is_refilling: bool,
    is_closed: bool,
}

impl PodSockets {
    /// How many sockets to ask for with a Pod, by whether roles of this process are in it.
    pub(crate) fn first(has_roles: bool) -> u16 {
        if has_roles { u16::try_from(READY).unwrap_or(FEW) } else { FEW }
    }

    /// Those that came with the Pod.
    pub(crate) fn new(sandbox: Sandbox, pod: PodId, tasks: Tasks, ready: Vec<OwnedFd>, has_roles: bool) -> Self {
        let kept = if has_roles { READY } else { 0 };
        let state = Mutex::new(State { ready, ..State::default() });
        Self(Arc::new(Shared { sandbox, pod, tasks, kept, state }))
    }

    /// Lets go of all of them: a held socket keeps the Pod's network alive.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.ready.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches more ahead of need.
    fn refill(&self) {
        let mut state = self.state();
        if state.is_closed || state.is_refilling || state.ready.len() >= LOW || self.0.kept == 0 {
            return;
        }
        state.is_refilling = true;
        let wanted = u16::try_from(self.0.kept - state.ready.len()).unwrap_or(FEW);
        drop(state);
        let sockets = self.clone();
        self.0.tasks.spawn_transient("node/sockets", async move {
            let fetched = sockets.0.sandbox.sockets(&sockets.0.pod, wanted).await;
            let mut state = sockets.state();
            state.is_refilling = false;
            if let (Ok(fetched), false) = (fetched, state.is_closed) {
                state.ready.extend(fetched);
            }
        });
    }
}

impl SocketSupply for PodSockets {
    fn take(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<OwnedFd>> {
        let taken = {
            let mut state = self.state();
            if state.is_closed { Err(io::Error::from(io::ErrorKind::NotConnected)) } else { Ok(state.ready.pop()) }
        };
        self.refill();
        async move {
            if addr.is_ipv6() {
                return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
            }
            if let Some(socket) = taken? {
                return Ok(socket);
            }
            let mut fetched = self.0.sandbox.sockets(&self.0.pod, FEW).await.map_err(io::Error::other)?;
            let socket = fetched.pop();
            let mut state = self.state();
            if !state.is_closed {
                state.ready.extend(fetched);
            }
            socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
        }
        .boxed()
    }
}

/// Ends listening, for everybody who holds the socket. Whoever is connected and was not accepted is told, which the kernel cannot do once the
/// Pod's address is gone.
pub(crate) fn refuse(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).shutdown(Shutdown::Read) {
        tracing::debug!(%error, "a port of a pod that ends listens on");
    }
}

/// A port that somebody waits for: of which container, in which run, and which one.
pub(crate) type WantedPort = (usize, u32, u16);

/// Tells each port in `wanted` once when it listens, until `wanted` is dropped. A port that leaves `wanted` and comes back is told again.
pub(crate) async fn watch_ports(
    diag: OwnedFd,
    ip: Option<Ipv4Addr>,
    mut wanted: watch::Receiver<BTreeSet<WantedPort>>,
    outbox: mpsc::Sender<Message>,
) {
    let mut told = BTreeSet::new();
    let mut since = tokio::time::Instant::now();
    let mut every = EAGER_EVERY;
    loop {
        let present = wanted.borrow_and_update().clone();
        told.retain(|port| present.contains(port));
        for port in present.difference(&told.clone()) {
            if listens(&diag, ip, port.2) {
                if outbox.send(Message::Listening(*port)).await.is_err() {
                    return;
                }
                told.insert(*port);
            }
        }
        let is_done = told.len() == present.len();
        let pause = async { if is_done { std::future::pending().await } else { tokio::time::sleep(every).await } };
        tokio::select! {
            biased;
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                since = tokio::time::Instant::now();
                every = EAGER_EVERY;
            }
            () = pause => {
                let waited = since.elapsed();
                if waited > PATIENT_AFTER {
                    every = PATIENT_EVERY;
                } else if waited > EAGER_FOR {
                    every = every.mul_f32(1.5).min(EVERY_MAX);
                }
            }
        }
    }
}

/// Whether somebody listens to `port`, on the wildcard, the loopback or the Pod's own address. A kernel that does not say counts as yes: the
/// probe then finds out.
fn listens(diag: &OwnedFd, ip: Option<Ipv4Addr>, port: u16) -> bool {
    let addresses = [Some(Ipv4Addr::LOCALHOST), ip].into_iter().flatten();
    let mut answers = addresses.map(|ip| listening::listens(diag.as_fd(), SocketAddrV4::new(ip, port)));
    answers.any(|answer| answer.unwrap_or(true))
}

/// The Pod's `resolv.conf`.
pub(crate) fn dns(pod: &Pod, server: Ipv4Addr, domain: &str) -> Dns {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let mut dns = match spec.and_then(|spec| spec.dns_policy.as_deref()) {
        Some("None") => Dns::default(),
        Some("Default") => Dns { nameservers: vec![server], ..Dns::default() },
        _ => Dns {
            nameservers: vec![server],
            searches: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()],
            options: vec!["ndots:5".to_owned()],
        },
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        dns.nameservers
            .extend(config.nameservers.iter().flatten().filter_map(|server| server.parse::<Ipv4Addr>().ok()));
        dns.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|present| present.split(':').next() != Some(name.as_str()));
            dns.options.push(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    dns
}

/// Lines of the Pod's `/etc/hosts`.
pub(crate) fn host_aliases(pod: &Pod) -> Vec<HostAlias> {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let parsed = aliases.filter_map(|alias| {
        let ip: IpAddr = alias.ip.parse().ok()?;
        Some(HostAlias { ip, names: alias.hostnames.clone().unwrap_or_default() })
    });
    parsed.collect()
}

/// What a Pod is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// What its containers see as host name.
    pub(crate) host: String,
    /// What `/etc/hosts` calls its address: the name in full, if it is one of a subdomain, then the first part of it.
    pub(crate) in_hosts: Vec<String>,
}

/// # Errors
/// It wants its name in full for its host name, which the kernel has no room for.
pub(crate) fn names(pod: &Pod, domain: &str) -> Result<Names, String> {
    let spec = pod.spec.as_ref();
    let given = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    let own = given(spec.and_then(|spec| spec.hostname.as_ref()));
    let name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let cut: String = name.chars().take(63).collect();
    let short = cut.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let subdomain = given(spec.and_then(|spec| spec.subdomain.as_ref()));
    let full = subdomain.map(|subdomain| format!("{short}.{subdomain}.{namespace}.svc.{domain}"));
    let is_full = spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let host = full.as_ref().filter(|_| is_full).unwrap_or(&short).clone();
    if host.len() > HOSTNAME_MAX_BYTES {
        return Err(format!(
            "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {host} is too long ({HOSTNAME_MAX_BYTES} characters is \
             the max, {} characters requested)",
            host.len()
        ));
    }
    Ok(Names { host, in_hosts: full.into_iter().chain([short]).collect() })
}

/// The kernel's bound of a host name.
const HOSTNAME_MAX_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_pod_of_a_subdomain_has_a_name_in_full() {
        let named = |name: &str, spec: serde_json::Value| {
            let pod = serde_json::json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
            names(&serde_json::from_value(pod).unwrap(), "cluster.local").map(|names| (names.host, names.in_hosts))
        };
        let expect = |host: &str, in_hosts: &[&str]| {
            Ok((host.to_owned(), in_hosts.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(named("db-0", serde_json::json!({"containers": []})), expect("db-0", &["db-0"]));
        let of_set = named("db-0", serde_json::json!({"containers": [], "subdomain": "db"}));
        assert_eq!(of_set, expect("db-0", &["db-0.db.shop.svc.cluster.local", "db-0"]));
        let own = named("db-0", serde_json::json!({"containers": [], "subdomain": "db", "hostname": "first"}));
        assert_eq!(own, expect("first", &["first.db.shop.svc.cluster.local", "first"]));
        let full = serde_json::json!({"containers": [], "subdomain": "db", "setHostnameAsFQDN": true});
        let fqdn = "db-0.db.shop.svc.cluster.local";
        assert_eq!(named("db-0", full.clone()), expect(fqdn, &[fqdn, "db-0"]));
        let too_long = named(&"d".repeat(50), full).unwrap_err();
        assert!(too_long.ends_with("is too long (64 characters is the max, 76 characters requested)"), "{too_long}");
        let alone = serde_json::json!({"containers": [], "setHostnameAsFQDN": true});
        assert_eq!(named("db-0", alone), expect("db-0", &["db-0"]));
    }

    #[test]
    fn who_waits_to_be_accepted_is_told_of_the_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (held, address) = (listener.try_clone().unwrap(), listener.local_addr().unwrap());
        let mut waiting = TcpStream::connect(address).unwrap();
        refuse(&listener);
        assert_eq!(waiting.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
    }
}

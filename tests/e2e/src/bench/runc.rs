//! The baseline of a cold start: the parts around a container made by our spawner's code, the container by runc.
//!
//! This program starts a spawner of its own (it is its own spawner, re-exec'd), asks it for a pod's network, mounts the overlay, writes
//! the bundle, and starts `runc run` in that network, with the limits that the other figures have. Beside it: the spawner doing it all.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base_rt::{Clock, Phase, Shutdown, Tasks};
use cluster_sandbox::spec::{ContainerId, ContainerSpec, InstanceId, LayerName, Limits, PodId, PodNetwork, PodSpec};
use cluster_sandbox::{Owner, PodHandle, Sandbox, SpawnerConfig, launch, listening};
use serde_json::{Value, json};

use super::cold_start::QUIET;
use crate::place::Place;

const PORT: u16 = 8080;
const MEMORY_BYTES: u64 = 256 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Milliseconds of every start: by the spawner alone, and by runc (or why not).
pub(super) fn measure(place: &Place, runs: usize) -> Result<(Vec<f64>, Result<Vec<f64>>)> {
    bench(place, 0, async |bench| bench.both(runs).await)
}

/// Starts a second by runc in several loops at once, each with a spawner of its own for what is around its containers.
pub(super) fn loops(place: &Place, loops: usize, runs: usize) -> Result<f64> {
    let took: Vec<Duration> = std::thread::scope(|scope| {
        let work = |number| bench(place, number, async |bench| bench.by_runc_alone(runs).await);
        let loops: Vec<_> = (0..loops).map(|number| scope.spawn(move || work(number))).collect();
        loops.into_iter().map(|one| one.join().ok().context("a loop panicked").flatten()).collect::<Result<_>>()
    })?;
    Ok(took.iter().map(|took| runs as f64 / took.as_secs_f64()).sum())
}

/// Does something with a spawner of its own.
fn bench<T>(place: &Place, number: usize, work: impl AsyncFnOnce(Bench<'_>) -> Result<T>) -> Result<T> {
    let folder = place.scratch(&format!("runc-{number}"));
    fs::create_dir_all(&folder)?;
    let instance = InstanceId::try_new(format!("bench-{}-{number}", std::process::id()))?;
    let config =
        SpawnerConfig::new(instance.clone(), format!("/run/kwick-{instance}"), &folder, Owner { uid: 0, gid: 0 });
    let layer = config.layers_dir.join("hello/fs");
    fs::create_dir_all(&layer)?;
    fs::copy(place.binary("hello"), layer.join("hello")).context("cannot copy the sample")?;
    launch::start(Path::new("/proc/self/exe"), &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let (sandbox, _events) = Sandbox::connect(&config.socket_path(), &tasks, Clock::system()).await?;
        let bench = Bench { sandbox: &sandbox, layer: &layer, folder: &folder, number };
        let measured = work(bench).await;
        sandbox.down(Duration::ZERO).await?;
        handle.advance(Phase::Stopped);
        measured
    })
}

struct Bench<'a> {
    sandbox: &'a Sandbox,
    layer: &'a Path,
    folder: &'a Path,
    /// Which of several at once.
    number: usize,
}

/// A container that was started by runc.
struct Started {
    took: Duration,
    pod: PodSpec,
    handle: PodHandle,
    bundle: Bundle,
    container: Child,
}

impl Bench<'_> {
    async fn both(&self, runs: usize) -> Result<(Vec<f64>, Result<Vec<f64>>)> {
        let (mut alone, mut runc) = (Vec::new(), Ok(Vec::new()));
        // In turns, so that both meet the same moments of the machine.
        for run in 0..runs {
            tokio::time::sleep(QUIET).await;
            alone.push(self.by_spawner(run).await?.as_secs_f64() * 1000.0);
            tokio::time::sleep(QUIET).await;
            if let Ok(samples) = &mut runc {
                match self.by_runc(run).await {
                    Ok(took) => samples.push(took.as_secs_f64() * 1000.0),
                    Err(error) => runc = Err(error),
                }
            }
        }
        Ok((alone, runc))
    }

    async fn by_spawner(&self, run: usize) -> Result<Duration> {
        let pod = pod(&format!("alone-{run}"))?;
        let command = vec!["/hello".to_owned()];
        let id = ContainerId::try_new(format!("alone-{run}-c"))?;
        let mut container = ContainerSpec::new(pod.id.clone(), id, vec![LayerName::try_new("hello")?], command);
        container.limits = Limits {
            memory_bytes: Some(MEMORY_BYTES),
            cpu_limit_millis: Some(1000),
            cpu_request_millis: Some(50),
            pids: None,
        };
        let begun = Instant::now();
        let (handle, started) = tokio::join!(self.sandbox.create_pod(&pod), self.sandbox.start_container(&container));
        let mut handle = handle?;
        started?;
        answer(&mut handle).await?;
        let took = begun.elapsed();
        drop(handle);
        self.sandbox.remove_pod(&pod.id).await?;
        Ok(took)
    }

    async fn by_runc(&self, run: usize) -> Result<Duration> {
        let started = self.start_by_runc(run).await?;
        let took = started.took;
        self.remove(started).await?;
        Ok(took)
    }

    /// Starts one after the other, and removes them all in the end: how long it took until the last had answered.
    async fn by_runc_alone(&self, runs: usize) -> Result<Duration> {
        let mut started = Vec::new();
        let begun = Instant::now();
        let mut outcome = Ok(());
        for run in 0..runs {
            match self.start_by_runc(run).await {
                Ok(one) => started.push(one),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let took = begun.elapsed();
        for one in started {
            self.remove(one).await?;
        }
        outcome.map(|()| took)
    }

    async fn start_by_runc(&self, run: usize) -> Result<Started> {
        let pod = pod(&format!("runc-{run}"))?;
        let bundle = Bundle::prepare(self.folder, (self.number, run))?;
        let spawner = self.sandbox.facts().pid;
        let held = networks(spawner)?;
        let begun = Instant::now();
        let mut handle = self.sandbox.create_pod(&pod).await?;
        let looking = Instant::now();
        let network = networks(spawner)?.into_iter().find(|known| !held.iter().any(|other| other.1 == known.1));
        let (network, _) = network.context("the pod's network namespace was not found")?;
        // Looking it up is this program's business, not the baseline's.
        let looked = looking.elapsed();
        bundle.mount(self.layer)?;
        let container = bundle.run(&network)?;
        let answered = answer(&mut handle).await;
        let took = begun.elapsed().saturating_sub(looked);
        let started = Started { took, pod, handle, bundle, container };
        match answered {
            Ok(()) => Ok(started),
            Err(error) => self.remove(started).await.and(Err(error)),
        }
    }

    async fn remove(&self, started: Started) -> Result<()> {
        let Started { pod, handle, bundle, mut container, .. } = started;
        bundle.remove();
        let _ = container.wait();
        drop(handle);
        Ok(self.sandbox.remove_pod(&pod.id).await?)
    }
}

fn pod(name: &str) -> Result<PodSpec> {
    let mut pod = PodSpec::new(PodId::try_new(name)?);
    pod.network = PodNetwork::Own;
    pod.sockets = 2;
    Ok(pod)
}

/// Waits until the pod's server listens, asks it, and reads the first byte.
async fn answer(handle: &mut PodHandle) -> Result<()> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
    let diag = handle.diag.as_ref().context("a pod without a network")?;
    tokio::time::timeout(ANSWER_WITHIN, listening::wait(diag.as_fd(), address))
        .await
        .context("the server did not listen")??;
    let socket = handle.sockets.pop().context("a pod without a socket")?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    rustix::net::connect(&socket, &address)?;
    let mut connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    connection.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    connection.read_exact(&mut [0])?;
    Ok(())
}

/// The network namespaces that a process holds: paths to them, and which they are.
fn networks(pid: i32) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).context("cannot look at the spawner")?.flatten() {
        if let Ok(target) = fs::read_link(entry.path())
            && target.to_string_lossy().starts_with("net:[")
        {
            found.push((entry.path(), target));
        }
    }
    Ok(found)
}

/// What runc starts: a folder with a root and a description.
struct Bundle {
    folder: PathBuf,
    name: String,
}

impl Bundle {
    /// Empty folders; the mounts come later.
    fn prepare(parent: &Path, (bench, run): (usize, usize)) -> Result<Self> {
        let folder = parent.join(format!("bundle-{run}"));
        for name in ["rootfs", "upper", "work"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let name = format!("kwick-bench-{}-{bench}-{run}", std::process::id());
        Ok(Self { folder, name })
    }

    fn mount(&self, layer: &Path) -> Result<()> {
        let (upper, work) = (self.folder.join("upper"), self.folder.join("work"));
        let options = format!("lowerdir={},upperdir={},workdir={}", layer.display(), upper.display(), work.display());
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount(
            "overlay",
            self.folder.join("rootfs"),
            "overlay",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .context("cannot mount the overlay")
    }

    fn run(&self, network: &Path) -> Result<Child> {
        fs::write(self.folder.join("config.json"), description(network).to_string())?;
        let mut runc = Command::new("runc");
        runc.args(["run", "--bundle"]).arg(&self.folder).arg(&self.name);
        runc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = runc.spawn().context("runc cannot be started (Debian package runc)")?;
        if let Some(status) = child.try_wait()? {
            bail!("runc run ended with {status}");
        }
        Ok(child)
    }

    fn remove(&self) {
        let mut delete = Command::new("runc");
        delete.args(["delete", "--force", &self.name]).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = delete.status();
        let _ = rustix::mount::unmount(self.folder.join("rootfs"), rustix::mount::UnmountFlags::DETACH);
    }
}

/// What Kwick gives a container too: all namespaces, the default mounts, the default capabilities' worth, the same limits.
fn description(network: &Path) -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    let space = |kind: &str| json!({"type": kind});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "cwd": "/", "args": ["/hello"], "env": ["PATH=/bin", format!("PORT={PORT}")],
            "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "namespaces": [
                space("pid"), space("ipc"), space("uts"), space("mount"), space("cgroup"),
                {"type": "network", "path": network},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": {
                "memory": {"limit": MEMORY_BYTES},
                "cpu": {"shares": 51, "quota": 100_000, "period": 100_000},
            },
        },
    })
}

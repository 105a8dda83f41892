//! A real kube-apiserver and its etcd as processes on loopback, without controllers: what Kwick's API is compared with, and measured beside.
//!
//! The programs are built from their public modules by `tools/kube-oracle`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Whether what etcd has acknowledged outlives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As it is meant to be run: every write is synced to the disk.
    Synced,
    /// For what is about answers and not about endurance.
    Unsynced,
}

/// What the server is given.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    /// The certificate that it shows, for 127.0.0.1, as PEM.
    pub certificate_pem: &'a str,
    /// The certificate's key, which also signs the tokens of ServiceAccounts.
    pub key_pem: &'a str,
    /// The bearer token of a member of `system:masters`.
    pub token: &'a str,
}

/// A kube-apiserver and its etcd; they end with this value.
#[derive(Debug)]
pub struct Oracle {
    /// Where it serves HTTPS.
    pub address: SocketAddr,
    folder: PathBuf,
    processes: [Process; 2],
}

#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Oracle {
    /// Starts the programs `etcd` and `kube-apiserver` of the folder `programs` on data in `folder`. It takes seconds until `/readyz` says so.
    ///
    /// # Errors
    /// A program cannot be started, or a file not be written.
    pub fn start(programs: &Path, folder: &Path, secrets: &Secrets<'_>, durability: Durability) -> Result<Self> {
        let [etcd, peer, api] = free_ports()?;
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let store = start(&programs.join("etcd"), folder, &etcd_options(folder, &etcd_url, peer, durability))?;
        let server = start(&programs.join("kube-apiserver"), folder, &api_options(folder, &etcd_url, api, secrets)?)?;
        let address = (Ipv4Addr::LOCALHOST, api).into();
        Ok(Self { address, folder: folder.to_owned(), processes: [store, server] })
    }

    /// Fails when one of the programs has ended, with the end of the server's log.
    ///
    /// # Errors
    /// That is so.
    pub fn check(&mut self) -> Result<()> {
        if self.processes.iter_mut().all(|process| matches!(process.0.try_wait(), Ok(None))) {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(5).collect();
        anyhow::bail!("kube-apiserver or etcd has ended; the server's log ends (last first):\n{}", end.join("\n"))
    }

    /// The ids of the processes, etcd's first.
    #[must_use]
    pub fn pids(&self) -> [u32; 2] {
        self.processes.each_ref().map(|process| process.0.id())
    }
}

fn free_ports() -> Result<[u16; 3]> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("three listeners have three ports"))
}

fn start(program: &Path, folder: &Path, options: &[String]) -> Result<Process> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::create(folder.join(format!("{name}.log")))?;
    let mut command = Command::new(program);
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(Process(command.spawn().with_context(|| format!("cannot start {}", program.display()))?))
}

fn etcd_options(folder: &Path, url: &str, peer: u16, durability: Durability) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{peer}");
    let mut options = vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=error".into(),
    ];
    if durability == Durability::Unsynced {
        options.push("--unsafe-no-fsync".into());
    }
    options
}

fn api_options(folder: &Path, etcd: &str, port: u16, secrets: &Secrets<'_>) -> Result<Vec<String>> {
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let certificate = file("serving.crt", secrets.certificate_pem)?;
    let key = file("serving.key", secrets.key_pem)?;
    Ok(vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=10.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.join("certificates").display()),
        format!("--tls-cert-file={certificate}"),
        format!("--tls-private-key-file={key}"),
        format!("--token-auth-file={}", file("tokens.csv", &format!("{},admin,1,system:masters\n", secrets.token))?),
        format!("--service-account-key-file={certificate}"),
        format!("--service-account-signing-key-file={key}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        // As installers set it.
        "--allow-privileged=true".into(),
        "--endpoint-reconciler-type=none".into(),
        "--enable-priority-and-fairness=false".into(),
        "--profiling=false".into(),
    ])
}

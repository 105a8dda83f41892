//! What a warm request costs: processor time of Kwick's own process per request, beside nginx as reverse proxy to the same pod.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::load::{self, Load};
use super::{Baseline, Figure};
use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, free_addresses};
use crate::ksvc::{self, Ksvc};
use crate::place::Place;
use crate::until::until;

const NGINX: &str = "/usr/sbin/nginx";
const WARM_UP: Load = Load { connections: 8, requests: 250 };
const MEASURED: Load = Load { connections: 8, requests: 2_500 };
const TICKS_PER_SECOND: f64 = 100.0;

/// Gateway, activator when in the path, queue-proxy: everything between the client and the pod.
pub(super) fn warm_request(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 9 } else { 3 };
    let kwick = Instance::start(place, "warm")?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("warm").scale("min-scale", "1").scale("max-scale", "1").deploy(&kwick.api)?)?;
    let pods = ksvc::pods(&kwick.api, "warm")?;
    let pod: Ipv4Addr =
        text(pods.first().context("it has no pod")?, "/status/podIP").parse().context("a pod without an IP")?;
    let nginx = Nginx::start(&place.scratch("nginx"), pod);
    let own = [kwick.pid()?];
    load::send(&kwick.gateway, &host, WARM_UP)?;
    let (mut samples, mut others, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (cost, rate) = cost(&kwick.gateway, &host, &own)?;
        samples.push(cost);
        rates.push(rate);
        if let Ok(nginx) = &nginx {
            others.push(self::cost(&nginx.target, &host, &nginx.pids()?)?.0);
        }
    }
    let baseline = match nginx {
        Ok(_) => Baseline::Samples("nginx as reverse proxy to the same pod".to_owned(), others),
        Err(error) => Baseline::Missing(format!("{error:#}")),
    };
    kwick.down()?;
    let rate = super::median(&rates).unwrap_or_default();
    let conditions = format!(
        "CPU of the proxying processes (user + system, /proc/PID/stat) over {} requests on {} connections that stay open; \
         the pod's own CPU is not counted; {rate:.0} requests/s through Kwick with the load generator on the same machine",
        MEASURED.connections * MEASURED.requests,
        MEASURED.connections
    );
    Ok(vec![Figure::new("warm request", "µs CPU", &samples, baseline, &conditions)?])
}

/// Microseconds of processor time per request, and requests per second.
fn cost(target: &Target, host: &str, pids: &[i32]) -> Result<(f64, f64)> {
    let before = load::ticks(pids)?;
    let took = load::send(target, host, MEASURED)?;
    let ticks = load::ticks(pids)?.saturating_sub(before);
    let requests = (MEASURED.connections * MEASURED.requests) as f64;
    Ok((ticks as f64 / TICKS_PER_SECOND * 1e6 / requests, requests / took.as_secs_f64()))
}

/// An nginx of our own that passes everything to one pod; ended with its value.
struct Nginx {
    child: Child,
    target: Target,
}

impl Nginx {
    fn start(folder: &Path, pod: Ipv4Addr) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let [address, ..] = free_addresses()?;
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration(folder, address, pod))?;
        let mut command = Command::new(NGINX);
        command.arg("-c").arg(&file).arg("-p").arg(folder).stdin(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("{NGINX} cannot be started (Debian package nginx-light)"))?;
        let nginx = Self { child, target: Target::plain(address) };
        until("nginx", Duration::from_secs(5), || ksvc::greet(&nginx.target, "warm").map(Some))?;
        Ok(nginx)
    }

    /// The master and its workers.
    fn pids(&self) -> Result<Vec<i32>> {
        let master = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let workers = children.context("cannot find nginx's workers")?;
        let mut pids: Vec<i32> = workers.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids.push(i32::try_from(master)?);
        Ok(pids)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers at SIGTERM.
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// What a careful administrator would write: keep-alive on both sides, no access log.
fn configuration(folder: &Path, address: SocketAddr, pod: Ipv4Addr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; worker_processes 2; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream pod {{ server {pod}:8080; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {address};
    location / {{ proxy_pass http://pod; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }}
  }}
}}
"
    )
}

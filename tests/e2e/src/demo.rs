//! `cargo xtask demo`: one service from nothing to a URL, and from zero to many pods and back, told line by line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::api::{Api, text};
use crate::instance::{Instance, timed};
use crate::ksvc::{self, Ksvc};
use crate::place::{self, Place};
use crate::until::{is_interrupted, pause};

/// How the demo runs.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// End by itself, instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
}

/// What its data directory is called.
const NAME: &str = "demo";
/// Requests at one time in the burst; with a target of 10 each they want several pods.
const BURST: usize = 40;
/// How often a caller of the burst asks, each time for a second.
const ROUNDS: usize = 3;

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _scratch = options.place.open()?;
    let done = show(options);
    if is_interrupted() && !options.place.scratch(NAME).exists() {
        say("interrupted; everything is cleaned up");
        return Ok(());
    }
    done
}

fn show(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let (kwick, took) = timed(|| Instance::start(&options.place, NAME))?;
    say(&format!(
        "Kwick is up after {} ms, without Kubernetes; data in {}",
        took.as_millis(),
        kwick.folder().display()
    ));
    quicken(&kwick.api)?;
    kwick.import_hello("hello").context("cannot import the sample's image")?;
    say("samples/hello is packed into an image and imported as \"hello\"");

    let service = Ksvc::hello("hello").scale("target", "10").env("TARGET", "Kwick");
    let (object, took) = timed(|| {
        apply(&kwick, &service)?;
        ksvc::ready(&kwick.api, "hello")
    })?;
    let host = ksvc::host(&object)?;
    say(&format!("the service is Ready after {} ms: {}", took.as_millis(), text(&object, "/status/url")));
    say(&format!("  its answer: {}", ksvc::greet(&kwick.gateway, &host)?.trim()));

    say("nobody asks, so it goes to zero:");
    counted(&kwick.api, || ksvc::at_scale(&kwick.api, "hello", 0))?;
    say("one request, and it comes back:");
    counted(&kwick.api, || {
        let (answer, took) = timed(|| ksvc::greet(&kwick.gateway, &host))?;
        say(&format!("  its answer after {} ms: {}", took.as_millis(), answer.trim()));
        Ok(())
    })?;
    say(&format!("{BURST} callers at once, each answer takes a second, 10 at a time are meant for one pod:"));
    let most = counted(&kwick.api, || burst(&kwick, &host))?;
    if most < 2 {
        bail!("the burst was served by {most} pod; more were expected");
    }
    say("all were answered; and to zero again:");
    counted(&kwick.api, || ksvc::at_scale(&kwick.api, "hello", 0))?;

    if !options.once {
        wait(&kwick, &host)?;
    }
    kwick.down()?;
    say(&format!("everything is cleaned up; the demo took {} s", begun.elapsed().as_secs()));
    Ok(())
}

/// Shortens what production wants long, so that nobody waits half a minute for a zero.
pub(crate) fn quicken(api: &Api) -> Result<()> {
    let path = "/api/v1/namespaces/knative-serving/configmaps/config-autoscaler";
    api.merge(path, &serde_json::json!({"data": {"scale-to-zero-grace-period": "6s"}}))?;
    Ok(())
}

/// Applies the service with kubectl where there is one, else through the API.
fn apply(kwick: &Instance<'_>, service: &Ksvc) -> Result<()> {
    let file = kwick.folder().with_extension("ksvc.json");
    std::fs::write(&file, service.object().to_string()).context("cannot write the service's file")?;
    let path = file.display().to_string();
    match kwick.kubectl(&["apply", "-f", &path]) {
        Some(mut kubectl) => say(&format!("kubectl apply: {}", place::output(&mut kubectl)?.trim())),
        None => {
            service.create(&kwick.api)?;
            say("the service is made through the API (there is no kubectl here)");
        }
    }
    Ok(())
}

/// Does something while every change of the number of ready pods is printed; the largest number seen.
fn counted(api: &Api, act: impl FnOnce() -> Result<()>) -> Result<usize> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counter = scope.spawn(|| count(api, &is_over));
        let done = act();
        is_over.store(true, Ordering::SeqCst);
        let most = counter.join().map_err(|_| anyhow::anyhow!("the counter ended early"))?;
        done.map(|()| most)
    })
}

fn count(api: &Api, is_over: &AtomicBool) -> usize {
    let (mut last, mut most) = (usize::MAX, 0);
    loop {
        // Read before counting: the last count is of the state after the act.
        let is_last = is_over.load(Ordering::SeqCst);
        if let Ok(now) = ksvc::ready_pods(api, "hello") {
            if now != last {
                say(&format!("  pods ready: {now} {}", "▪".repeat(now)));
            }
            (last, most) = (now, most.max(now));
        }
        if is_last {
            return most;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Many callers that each ask for slow answers; every one must come.
fn burst(kwick: &Instance<'_>, host: &str) -> Result<()> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..BURST).map(|_| scope.spawn(|| call(kwick, host))).collect();
        for caller in callers {
            caller.join().map_err(|_| anyhow::anyhow!("a caller ended early"))??;
        }
        Ok(())
    })
}

fn call(kwick: &Instance<'_>, host: &str) -> Result<()> {
    for _ in 0..ROUNDS {
        let (status, body) = ksvc::ask(&kwick.gateway, host, "/?ms=1000")?;
        if status != 200 {
            bail!("an answer of the burst was {status}: {}", body.trim());
        }
    }
    Ok(())
}

fn wait(kwick: &Instance<'_>, host: &str) -> Result<()> {
    let gateway = kwick.gateway.address;
    say("Kwick keeps running; Ctrl-C ends it and removes everything. Meanwhile, in another terminal:");
    say(&format!("  curl -H 'Host: {host}' http://{gateway}"));
    say(&format!("  export KUBECONFIG={}/kubeconfig; kubectl get ksvc,pods", kwick.folder().display()));
    loop {
        pause(Duration::from_secs(3600))?;
    }
}

fn say(line: &str) {
    println!("{line}");
}

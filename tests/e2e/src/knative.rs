//! Knative's own control plane on the cluster house alone: controller, webhook, autoscaler, activator and queue-proxy as they are, in Pods,
//! with Kwick's gateway as their ingress. A Service becomes Ready, answers, and goes from none to one and back: so this house knows no Knative.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::kubectl;
use crate::place::{self, Place};
use crate::until::until;

/// The programs, each in an image `knative/NAME`.
const PROGRAMS: [&str; 5] = ["activator", "autoscaler", "controller", "queue", "webhook"];
const GATEWAY: &str = "/api/v1/namespaces/kwick-gateway/services/gateway";
const CONFIG_MAPS: &str = "/api/v1/namespaces/knative-serving/configmaps";
/// How long Knative's control plane may take to be at work.
const START: Duration = Duration::from_secs(180);

/// Where.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// The folder with Knative's programs in `bin` and its configuration in `crds` and `core`
    #[arg(long)]
    knative: PathBuf,
}

/// Installs Knative, then a Service; fails when it does not become Ready, answer and scale.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { place, knative } = options;
    let _scratch = place.open()?;
    let kwick = Instance::start_with(place, "knative", &["--only", "cluster"])?;
    pack(&kwick, &place.binary("kwick"), "kwick")?;
    pack(&kwick, &kwick.hello(), "dev.local/hello")?;
    for program in PROGRAMS {
        pack(&kwick, &knative.join("bin").join(program), &format!("knative/{program}"))?;
    }
    let begun = Instant::now();
    install(&kwick, place, knative)?;
    println!("Knative's control plane is at work after {:.1} s", begun.elapsed().as_secs_f64());
    let gateway = gateway(&kwick)?;
    let begun = Instant::now();
    let service = Ksvc::hello("hello").image("dev.local/hello").env("TARGET", "Knative").deploy(&kwick.api)?;
    println!("the Service is Ready after {:.1} s", begun.elapsed().as_secs_f64());
    let host = ksvc::host(&service)?;
    answers(&gateway, &host)?;
    ksvc::at_scale(&kwick.api, "hello", 0)?;
    println!("it answered, and went to zero");
    let begun = Instant::now();
    answers(&gateway, &host)?;
    println!("from zero it answered within {:.1} s", begun.elapsed().as_secs_f64());
    ensure(!ksvc::pods(&kwick.api, "hello")?.is_empty(), || "it answered without a Pod".to_owned())?;
    ksvc::at_scale(&kwick.api, "hello", 0)?;
    refuses(&kwick)?;
    kwick.down()
}

/// As ko does: the programs run as nobody in particular.
fn pack(kwick: &Instance<'_>, binary: &Path, name: &str) -> Result<()> {
    let binary = binary.display().to_string();
    let mut pack = kwick.kwick(&["image", "pack", &binary, "--name", name, "--user", "65532", "--port", "8080"]);
    place::output(&mut pack).map(drop)
}

fn install(kwick: &Instance<'_>, place: &Place, knative: &Path) -> Result<()> {
    let apply = |path: &Path| kubectl::run(kwick, &["apply", "-f", &path.display().to_string()]).map(drop);
    apply(&knative.join("crds"))?;
    apply(&knative.join("core"))?;
    let available = format!("--timeout={}s", START.as_secs());
    let wait = ["wait", "deployments", "--all", "-n", "knative-serving", "--for=condition=Available", &available];
    kubectl::run(kwick, &wait)?;
    // The webhook judges ConfigMaps from when it has its certificate on.
    for (map, data) in [
        ("config-network", json!({"ingress-class": "kwick.ingress.networking.knative.dev"})),
        ("config-domain", json!({"example.com": ""})),
        ("config-autoscaler", json!({"scale-to-zero-grace-period": "6s"})),
    ] {
        let patch = json!({"data": data}).to_string();
        until(&format!("the change of {map}"), START, || {
            let path = format!("{CONFIG_MAPS}/{map}");
            let (status, said) = kwick.api.send("PATCH", &path, "application/merge-patch+json", patch.as_bytes())?;
            ensure(status == 200, || format!("it is answered with {status}: {said}"))?;
            Ok(Some(()))
        })?;
    }
    apply(&place.workspace("tests/e2e/data/gateway.yaml"))
}

/// The gateway's ClusterIP, for hosts that everybody may reach.
fn gateway(kwick: &Instance<'_>) -> Result<Target> {
    let service = kwick.api.get(GATEWAY)?.context("the gateway has no Service")?;
    let ip: IpAddr = text(&service, "/spec/clusterIP").parse().context("the gateway's Service has no address")?;
    Ok(Target::plain(SocketAddr::new(ip, 80)))
}

fn answers(gateway: &Target, host: &str) -> Result<()> {
    let answer = until("an answer", ksvc::PATIENCE, || ksvc::greet(gateway, host).map(Some))?;
    ensure(answer.starts_with("Hello Knative!"), || format!("it answered {answer:?}"))
}

/// What is wrong is said by Knative's own webhook.
fn refuses(kwick: &Instance<'_>) -> Result<()> {
    let wrong = Ksvc::hello("wrong").image("dev.local/hello").scale("min-scale", "-1").object().to_string();
    let (status, said) = kwick.api.send("POST", ksvc::SERVICES, "application/json", wrong.as_bytes())?;
    let said = said.to_string();
    let is_told = said.contains("validation.webhook.serving.knative.dev") && said.contains("min-scale");
    ensure(status == 400 && is_told, || format!("a bad annotation is answered with {status}: {said}"))?;
    println!("Knative's webhook refused a bad annotation");
    Ok(())
}

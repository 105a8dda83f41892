//! `cargo xtask test`: the list of stages. Cheap ones first; builds stand before what uses them, in one target directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::build::Profile;
use crate::drive::{self, Root};
use crate::stage::{self, Outcome, Stage};
use crate::{build, deny, knative, layers, serving, sh};

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Also what takes long, on release binaries: more crashes, benchmarks, advisories
    #[arg(long)]
    full: bool,
    /// Only this stage and what it needs; may be given several times
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
}

const NO_ROOT: &str = "not root, and sudo does not work without a password";

const STAGES: &[Stage] = &[
    Stage { name: "fmt", needs: &[], run: fmt },
    Stage { name: "layers", needs: &[], run: |_| passed(layers::run()) },
    Stage { name: "deny", needs: &[], run: deny_all },
    Stage { name: "clippy", needs: &[], run: clippy },
    Stage { name: "binaries", needs: &[], run: |full| passed(build::binaries(Profile::of_checks(full))) },
    Stage { name: "unit", needs: &[], run: unit },
    Stage { name: "fuzz", needs: &[], run: fuzz },
    Stage { name: "kubectl", needs: &[], run: |_| tool("kubectl", build::kubectl) },
    Stage { name: "crane", needs: &[], run: |_| tool("crane", build::crane) },
    Stage { name: "client-go", needs: &[], run: |_| tool("client-go", build::client_go) },
    Stage { name: "kube-rs", needs: &[], run: |full| long_tool("the kube-rs program", full, build::kube_rs) },
    Stage { name: "python", needs: &[], run: |_| python() },
    Stage { name: "helm", needs: &[], run: |full| long_go_tool("Helm", full, build::helm) },
    Stage { name: "kubectl-old", needs: &[], run: |full| long_go_tool("the older kubectl", full, build::kubectl_old) },
    Stage { name: "conformance", needs: &["binaries"], run: conformance },
    Stage { name: "autoscaler", needs: &["binaries"], run: autoscaler },
    Stage { name: "golden", needs: &["binaries"], run: |full| recorded("golden", full) },
    Stage { name: "replay", needs: &["binaries"], run: |full| recorded("replay", full) },
    Stage {
        name: "e2e",
        needs: &["binaries", "kubectl", "crane", "client-go", "kube-rs", "python", "helm", "kubectl-old"],
        run: |full| driven("check", full),
    },
    Stage { name: "leaks", needs: &["binaries"], run: leaks },
    Stage { name: "knative", needs: &["binaries", "kubectl"], run: knatives_own },
    Stage { name: "serving", needs: &["binaries", "kubectl"], run: serving_suites },
    Stage { name: "demo", needs: &["binaries"], run: |full| driven_with("demo", full, &["--once"]) },
    Stage { name: "readme", needs: &["binaries", "kubectl"], run: readme },
    Stage { name: "release", needs: &[], run: |_| passed(build::binaries(Profile::Release)) },
    Stage { name: "simulation", needs: &["release"], run: simulation },
    Stage { name: "bench", needs: &["release"], run: bench },
];

/// Runs the chosen stages; success when none failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let stages = match stage::select(STAGES, &options.only) {
        Ok(stages) => stages,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    if stage::summarise(&stage::run(&stages, options.full)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passed(done: Result<()>) -> Result<Outcome> {
    done.map(|()| Outcome::Passed)
}

fn fmt(_full: bool) -> Result<Outcome> {
    passed(sh::run("cargo", ["fmt", "--all", "--check"]))
}

/// Licences and sources always; known vulnerabilities when a tool for them is there and the run may take long.
fn deny_all(full: bool) -> Result<Outcome> {
    deny::run()?;
    if full && sh::exists("cargo-deny") {
        sh::run("cargo", ["deny", "check"])?;
    } else if full && sh::exists("cargo-audit") {
        sh::run("cargo", ["audit"])?;
    } else if full {
        println!("advisories were not checked: neither cargo-deny nor cargo-audit is installed");
    }
    Ok(Outcome::Passed)
}

fn clippy(_full: bool) -> Result<Outcome> {
    passed(sh::run("cargo", ["clippy", "-q", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Unit, integration and documentation tests of every crate.
fn unit(_full: bool) -> Result<Outcome> {
    passed(sh::run("cargo", ["test", "-q", "--workspace", "--no-fail-fast"]))
}

/// The whole control plane in virtual time. Fixed seeds gate; fresh ones are run for what they find, which is printed.
fn simulation(full: bool) -> Result<Outcome> {
    let program = build::folder(Profile::Release)?.join("simulate");
    let (fixed, fresh): (&[&str], _) =
        if full { (&["--seeds", "300", "--enough"], "20") } else { (&["--seeds", "60"], "2") };
    sh::check(&mut sh::command(&program, fixed))?;
    if let Err(error) = sh::check(&mut sh::command(&program, ["--fresh", fresh])) {
        println!("a fresh seed found something, which fails nothing: {error:#}; its replay line stands above");
    }
    Ok(Outcome::Passed)
}

/// Hostile bytes against what reads them, unoptimised so that overflows are found. A fixed number of inputs of a fixed seed gates; a fresh one is run for what it finds,
/// which fails a full run only. There it takes about an hour, with the same time for each target.
fn fuzz(full: bool) -> Result<Outcome> {
    build::binaries(Profile::Dev)?;
    let program = build::folder(Profile::Dev)?.join("fuzz");
    sh::check(&mut sh::command(&program, ["run", "--seed", "1", "--inputs", FUZZ_INPUTS]))?;
    let seconds = if full { "300" } else { "1" };
    match sh::check(&mut sh::command(&program, ["run", "--seconds", seconds])) {
        Err(error) if !full => println!("a fresh seed found something, which fails nothing: {error:#}"),
        outcome => outcome?,
    }
    Ok(Outcome::Passed)
}

/// How many inputs of the fixed seed each target is given, however long that takes.
const FUZZ_INPUTS: &str = "10000";

/// A client that is built from its public Go module.
fn tool(name: &str, build: fn() -> Result<PathBuf>) -> Result<Outcome> {
    if sh::exists("go") {
        return passed(build().map(|_| ()));
    }
    let instead = if sh::exists(name) { "the one on the path is used" } else { "and none is on the path" };
    Ok(Outcome::LeftOut(format!("Go is not installed; {instead}")))
}

/// What takes minutes to build where no cache has it: an everyday run waits only so long for it, and its checks are left out then.
fn long_tool(name: &str, full: bool, build: fn(Duration) -> Result<PathBuf>) -> Result<Outcome> {
    match build(if full { sh::LIMIT } else { BUILD_LIMIT }) {
        Err(error) if !full => Ok(Outcome::LeftOut(format!("{name} cannot be built here and now: {error:#}"))),
        built => passed(built.map(drop)),
    }
}

fn long_go_tool(name: &str, full: bool, build: fn(Duration) -> Result<PathBuf>) -> Result<Outcome> {
    if sh::exists("go") { long_tool(name, full, build) } else { Ok(Outcome::LeftOut("Go is not installed".into())) }
}

/// How long an everyday run waits for a client that is built for its checks alone.
const BUILD_LIMIT: Duration = Duration::from_secs(150);

/// The Python client library, where Python and PyPI are within reach.
fn python() -> Result<Outcome> {
    Ok(match build::python() {
        Ok(_) => Outcome::Passed,
        Err(error) => Outcome::LeftOut(format!("the Python client library cannot be installed here: {error:#}")),
    })
}

/// The API server beside a real kube-apiserver, shorter every day. A difference of the fixed seed that has no explanation fails, if it is there
/// at the second try as well: kube-apiserver seldom stores an object again that did not change, and later answers name its revision. (On
/// 2026-12-01 none was there in ten runs in a row.) In full runs a fresh seed is run for what it finds, which is printed.
fn conformance(full: bool) -> Result<Outcome> {
    if !sh::exists("go") {
        return Ok(Outcome::LeftOut("Go is not installed, so there is no kube-apiserver".into()));
    }
    let oracle = match build::kube_oracle() {
        Err(error) if !full => {
            return Ok(Outcome::LeftOut(format!("kube-apiserver cannot be built here: {error:#}")));
        }
        oracle => oracle?,
    };
    build::binaries(Profile::Dev)?;
    let program = build::folder(Profile::Dev)?.join("conformance-kubernetes");
    let run = |options: &[&str]| {
        let mut compare = sh::command(&program, ["--oracle"]);
        sh::check_within(CONFORMANCE_LIMIT, compare.arg(&oracle).args(options))
    };
    let operations = if full { FULL_CONFORMANCE } else { CONFORMANCE };
    let fixed = ["--seed", "1", "--operations", operations];
    match run(&fixed) {
        Err(error) if sh::code(&error) == Some(DIFFERS) => {
            println!("once more, as it failed at the first try: {error:#}");
            run(&fixed)?;
        }
        compared => compared?,
    }
    if full {
        let seed = std::process::id().to_string();
        match run(&["--seed", &seed, "--operations", "5000", "--shrink"]) {
            Err(error) if sh::code(&error) == Some(DIFFERS) => {
                println!("a fresh seed ({seed}) found something, which fails nothing: {error:#}");
            }
            compared => compared?,
        }
    }
    Ok(Outcome::Passed)
}

/// The exit code by which the comparison says that the servers differ; any other says that it could not compare them.
const DIFFERS: i32 = 3;

/// How long one comparison may take.
const CONFORMANCE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How many operations are compared.
const CONFORMANCE: &str = "2000";
const FULL_CONFORMANCE: &str = "20000";

/// The autoscaler beside Knative's own, on fewer traces and scenes every day. A difference of the fixed seed fails; a fresh seed is run for what it finds,
/// which is printed. That it cannot be compared fails either run.
fn autoscaler(full: bool) -> Result<Outcome> {
    if !sh::exists("go") {
        return Ok(Outcome::LeftOut("Go is not installed, so there is no autoscaler of Knative's own".into()));
    }
    let oracle = match build::autoscaler_oracle() {
        Err(error) if !full => {
            return Ok(Outcome::LeftOut(format!("Knative's autoscaler cannot be built here: {error:#}")));
        }
        oracle => oracle?,
    };
    build::binaries(Profile::Dev)?;
    let program = build::folder(Profile::Dev)?.join("conformance-autoscaler");
    let run = |options: &[&str]| {
        let mut compare = sh::command(&program, ["--oracle"]);
        sh::check_within(CONFORMANCE_LIMIT, compare.arg(&oracle).args(options))
    };
    let (traces, scenes) = if full { FULL_TRACES } else { TRACES };
    run(&["--seed", "1", "--traces", traces, "--scenes", scenes])?;
    if full {
        let (seed, (traces, scenes)) = (std::process::id().to_string(), TRACES);
        match run(&["--seed", &seed, "--traces", traces, "--scenes", scenes]) {
            Err(error) if sh::code(&error) == Some(DIFFERS) => {
                println!("a fresh seed ({seed}) found something, which fails nothing: {error:#}");
            }
            compared => compared?,
        }
    }
    Ok(Outcome::Passed)
}

/// How many traces and scenes are compared.
const TRACES: (&str, &str) = ("1000", "1000");
const FULL_TRACES: (&str, &str) = ("10000", "5000");

/// Checks against recorded answers of other servers, which lie beside the project and not in it.
fn recorded(name: &str, full: bool) -> Result<Outcome> {
    if !sh::root().join("../shared/golden").is_dir() {
        return Ok(Outcome::LeftOut("there are no recordings in ../shared/golden".into()));
    }
    driven(name, full)
}

fn driven(name: &str, full: bool) -> Result<Outcome> {
    driven_with(name, full, if full { &["--full"] } else { &[] })
}

fn driven_with(name: &str, full: bool, options: &[&str]) -> Result<Outcome> {
    driven_by(Profile::of_checks(full), name, options)
}

fn driven_by(profile: Profile, name: &str, options: &[&str]) -> Result<Outcome> {
    match drive::root() {
        Root::No => Ok(Outcome::LeftOut(NO_ROOT.into())),
        Root::Already | Root::Sudo => passed(drive::run(profile, name, options)),
    }
}

/// Pods that come and go for ten minutes, and the minutes until what is kept of them is forgotten.
fn leaks(full: bool) -> Result<Outcome> {
    if full { driven("leaks", full) } else { Ok(Outcome::LeftOut("it takes long, so it is for full runs".into())) }
}

/// Knative's own control plane on the cluster house. Building it takes minutes, so it is for full runs.
fn knatives_own(full: bool) -> Result<Outcome> {
    if !full {
        return Ok(Outcome::LeftOut("Knative's own control plane is built with --full alone".into()));
    }
    if !sh::exists("go") {
        return Ok(Outcome::LeftOut("Go is not installed".into()));
    }
    let built = knative::build()?.display().to_string();
    driven_with("knative", full, &["--knative", &built])
}

/// Knative Serving's own tests: every day those of its API and its runtime and what else is quick.
fn serving_suites(full: bool) -> Result<Outcome> {
    let built = match serving::build(if full { sh::LIMIT } else { SUITES_LIMIT }) {
        Err(error) if !full || !sh::exists("go") => {
            return Ok(Outcome::LeftOut(format!("Knative's tests cannot be built here and now: {error:#}")));
        }
        built => built?,
    };
    let [built, logs] = [built, build::target()?.join("serving-logs")].map(|path| path.display().to_string());
    let options = ["--suites", &built, "--logs", &logs, "--full"];
    driven_with("serving", full, if full { &options } else { &options[..4] })
}

/// How long an everyday run waits for Knative's tests and their images, which are about eight minutes where no cache has them.
const SUITES_LIMIT: Duration = Duration::from_secs(12 * 60);

/// The README's commands are kubectl's for the most part.
fn readme(full: bool) -> Result<Outcome> {
    match build::any_tool("kubectl")? {
        Some(_) => driven("readme", full),
        None => Ok(Outcome::LeftOut("there is no kubectl".into())),
    }
}

/// What is shipped, for whoever can measure it.
/// Prints figures and judges none, so that they are seen with every change; always of the release build. A measurement that fails on a
/// busy machine fails a full run only.
fn bench(full: bool) -> Result<Outcome> {
    if full {
        return driven_by(Profile::Release, "bench", &["--full"]);
    }
    driven_by(Profile::Release, "bench", &[]).or_else(|error| Ok(Outcome::LeftOut(format!("{error:#}"))))
}

//! What a user does in a container that runs, with an unmodified kubectl: exec, cp, attach, run, port-forward.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::LeftOut;
use crate::http::{Request, Target};
use crate::instance::{Instance, ensure};
use crate::kubectl;
use crate::place;
use crate::until::until_true;

/// The program of the image: a shell, tar and a web server in one. Debian's package busybox-static has it.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];
/// More than queues and pipes hold.
const LARGE: usize = 10 << 20;
/// Connections at once through one port-forward.
const CONNECTIONS: usize = 40;

/// Runs, copies, attaches, forwards.
pub(super) fn script(kwick: &Instance<'_>) -> Result<String> {
    pack_shell(kwick)?;
    run(
        kwick,
        &["run", "shell", "--image=shell", "--image-pull-policy=IfNotPresent", "--", "-c", "sleep 100000"],
        b"",
    )?;
    run(kwick, &["wait", "pod/shell", "--for=condition=Ready", "--timeout=60s"], b"")?;
    exec(kwick)?;
    terminal(kwick)?;
    copy(kwick)?;
    attach(kwick)?;
    let connections = forward(kwick)?;
    run(kwick, &["delete", "pod", "shell", "ticker", "--now"], b"")?;
    Ok(format!("exec, terminal, cp, run, attach, {connections} connections forwarded"))
}

/// An image with a shell and tar, called `shell`, for checks that use it with kubectl.
pub(super) fn pack_shell(kwick: &Instance<'_>) -> Result<()> {
    if kwick.kubectl(&[]).is_none() {
        return Err(LeftOut("there is no kubectl").into());
    }
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.exists()) else {
        return Err(LeftOut("there is no busybox (Debian: busybox-static)").into());
    };
    let folder = kwick.folder().with_extension("shell");
    // An instance of this name may have been there before.
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        for name in ["sh", "tar"] {
            std::os::unix::fs::symlink("/busybox", folder.join(name))?;
        }
    }
    let (busybox, bin) = (busybox.display().to_string(), format!("{}:/bin", folder.display()));
    let pack = ["image", "pack", &busybox, "--name", "shell", "--file", &bin, "--entrypoint", "/bin/sh"];
    place::output(&mut kwick.kwick(&pack)).map(drop)
}

/// Runs kubectl to its end, with an input.
fn with_input(kwick: &Instance<'_>, args: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = kubectl::command(kwick, args)?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut stdin, input) = (child.stdin.take().context("kubectl has no input")?, input.to_vec());
    // Whoever ends early does not read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    writer.join().ok().context("the writer failed")?;
    Ok(output)
}

/// As [`with_input`], for what ends well; what it said.
fn run(kwick: &Instance<'_>, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let output = with_input(kwick, args, input)?;
    ensure(output.status.success(), || format!("kubectl {}: {}", args.join(" "), place::text(&output)))?;
    Ok(output.stdout)
}

fn exec(kwick: &Instance<'_>) -> Result<()> {
    let both = with_input(kwick, &["exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], b"")?;
    let said = (both.status.code(), both.stdout.as_slice());
    let has_complained = both.stderr.starts_with(b"err\n");
    ensure(said == (Some(7), b"out\n") && has_complained, || format!("exec ended with {both:?}"))?;
    let large: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let back = run(kwick, &["exec", "-i", "shell", "--", "/busybox", "cat"], &large)?;
    ensure(back == large, || format!("{} of {LARGE} bytes came back through exec", back.len()))?;
    let missing = with_input(kwick, &["exec", "shell", "--", "nothing"], b"")?;
    let why = place::text(&missing);
    ensure(why.contains("executable file not found in $PATH"), || format!("a missing program: {why}"))?;
    let mut long = kubectl::command(kwick, &["exec", "shell", "--", "/busybox", "sleep", "54321"])?.spawn()?;
    let is_there =
        || Ok(run(kwick, &["exec", "shell", "--", "/busybox", "ps"], b"")?.windows(5).any(|at| at == b"54321"));
    until_true("the program", Duration::from_secs(20), is_there)?;
    long.kill()?;
    long.wait()?;
    until_true("the end of a program whose user is gone", Duration::from_secs(20), || Ok(!is_there()?))
}

/// A terminal for both sides: `script` is the user's.
fn terminal(kwick: &Instance<'_>) -> Result<()> {
    let words = "exec -it shell -- sh -c 'busybox tty; busybox stty size; exit 3'".replace("busybox", "/busybox");
    let line = format!("stty cols 99 rows 33; {} {words}", program(kwick)?.display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("KUBECONFIG", kwick.folder().join("kubeconfig"));
    // An input that ends would be the end of the terminal.
    let output = script.stdin(Stdio::piped()).output().context("cannot start script (Debian: bsdutils)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_so = output.status.code() == Some(3) && said.contains("/dev/pts/0") && said.contains("33 99");
    ensure(is_so, || format!("exec -it ended with {:?}: {said}", output.status.code()))
}

fn program(kwick: &Instance<'_>) -> Result<PathBuf> {
    Ok(kubectl::command(kwick, &[])?.get_program().into())
}

fn copy(kwick: &Instance<'_>) -> Result<()> {
    let [there, back] = ["there", "back"].map(|name| kwick.folder().with_extension(name));
    fs::write(&there, vec![b'x'; LARGE])?;
    run(kwick, &["cp", &there.display().to_string(), "shell:/copied"], b"")?;
    run(kwick, &["cp", "shell:/copied", &back.display().to_string()], b"")?;
    ensure(fs::read(&there)? == fs::read(&back)?, || "a file came back changed from cp".to_owned())
}

fn attach(kwick: &Instance<'_>) -> Result<()> {
    let image = ["--image=shell", "--image-pull-policy=IfNotPresent", "--restart=Never"];
    let once = [&["run", "once", "-i", "--rm", "--quiet"], image.as_slice()].concat();
    let output = with_input(kwick, &once, b"echo from the input\nexit 4\n")?;
    let is_so = output.status.code() == Some(4) && output.stdout.starts_with(b"from the input\n");
    ensure(is_so, || format!("run -i --rm ended with {output:?}"))?;
    let words = ["--", "-c", "while true; do echo tick; /busybox sleep 0.1; done"];
    run(kwick, &[&["run", "ticker"], image.as_slice(), &words].concat(), b"")?;
    run(kwick, &["wait", "pod/ticker", "--for=condition=Ready", "--timeout=60s"], b"")?;
    let mut child = kubectl::command(kwick, &["attach", "ticker"])?.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("kubectl has no output")?;
    let first = BufReader::new(stdout).lines().next();
    child.kill()?;
    child.wait()?;
    ensure(matches!(&first, Some(Ok(line)) if line == "tick"), || format!("attach shows {first:?}"))?;
    Ok(())
}

/// A port that listens for the pod alone, and one of a role of Kwick's own process.
fn forward(kwick: &Instance<'_>) -> Result<usize> {
    let serve = "mkdir /www && echo hello > /www/index.html && /busybox httpd -p 127.0.0.1:9000 -h /www";
    run(kwick, &["exec", "shell", "--", "sh", "-c", &serve.replace("mkdir", "/busybox mkdir")], b"")?;
    let forwarding = Forwarding::start(kwick, &["pod/shell", ":9000"])?;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || get(&forwarding.target, "/");
        let asking: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().ok().context("a caller failed")?).collect::<Result<_>>()
    })?;
    let is_so = |answer: &(u16, Vec<u8>)| answer.0 == 200 && answer.1 == b"hello\n";
    ensure(answers.iter().all(is_so), || format!("forwarded answers: {answers:?}"))?;
    drop(forwarding);
    let role = Forwarding::start(kwick, &["--namespace=knative-serving", "deployment/controller", ":9090"])?;
    let (status, body) = get(&role.target, "/metrics")?;
    let has_metrics = status == 200 && String::from_utf8_lossy(&body).contains("# TYPE");
    ensure(has_metrics, || format!("the controller's metrics: {status}"))?;
    Ok(answers.len() + 1)
}

fn get(target: &Target, path: &str) -> Result<(u16, Vec<u8>)> {
    target.ask(&Request { method: "GET", path, headers: &[("Host", "x"), ("Connection", "close")], body: b"" })
}

/// A kubectl that forwards a port of its choice; it ends with this value.
struct Forwarding {
    child: Child,
    target: Target,
}

impl Forwarding {
    fn start(kwick: &Instance<'_>, args: &[&str]) -> Result<Self> {
        let args = [&["port-forward", "--address=127.0.0.1"], args].concat();
        let mut child = kubectl::command(kwick, &args)?.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("kubectl has no output")?).lines();
        let first = lines.next().context("kubectl ended").and_then(|line| Ok(line?));
        // It says more with every connection.
        std::thread::spawn(move || lines.for_each(drop));
        let address = first.as_deref().ok().and_then(|line| line.split(' ').nth(2)).and_then(|text| text.parse().ok());
        let Some(address): Option<SocketAddr> = address else {
            let _ = child.kill();
            child.wait()?;
            bail!("kubectl port-forward said {first:?}");
        };
        Ok(Self { child, target: Target::plain(address) })
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Knative Serving's own tests, unmodified, from its public module (tools/knative), and the images of their programs, built by ko (tools/ko).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{build, sh};

const TESTS: &str = "knative.dev/serving/test";
/// The folders of tests, each of which becomes a binary.
const FOLDERS: [&str; 17] = [
    "conformance/api/v1",
    "conformance/api/v1beta1",
    "conformance/runtime",
    "e2e",
    "e2e/clusterlocaldomaintls",
    "e2e/domainmapping",
    "e2e/externaldomaintls",
    "e2e/gc",
    "e2e/initcontainers",
    "e2e/initscale",
    "e2e/multicontainerprobing",
    "e2e/pvc",
    "e2e/securedefaults",
    "e2e/systeminternaltls",
    "e2e/tagheader",
    "ha",
    "scale",
];
/// The tests' own objects, below `test/config` of the module.
const OBJECTS: [&str; 4] =
    ["cluster-resources.yaml", "test-resources.yaml", "resource-quota/resource-quota.yaml", "pvc/pvc.yaml"];
/// What stands before the images' names: the registry of every instance, as Pods know it.
const REPOSITORY: &str = "registry.kwick-system.svc.cluster.local/serving";
/// How long crane may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// Builds everything: the binaries in `tests`, the images in `images.tar`, the objects in `config`; the folder that they are in. Fails when it
/// takes longer than `limit`.
pub(crate) fn build(limit: Duration) -> Result<PathBuf> {
    let end = Instant::now() + limit;
    let (tools, made) = (sh::root().join("tools/knative"), build::tools()?.join("serving"));
    for folder in ["tests", "config"] {
        fs::create_dir_all(made.join(folder))?;
    }
    let mut go = sh::command("go", ["test", "-c", "-tags=e2e,hpa", "-trimpath", "-ldflags", "-s -w", "-o"]);
    go.arg(made.join("tests")).args(FOLDERS.map(|folder| format!("{TESTS}/{folder}")));
    sh::check_within(limit, go.current_dir(&tools).env("CGO_ENABLED", "0"))?;
    images(end, &tools, &made)?;
    let args = ["-C", &tools.display().to_string(), "list", "-m", "-f", "{{.Dir}}", "knative.dev/serving"];
    let module = PathBuf::from(sh::output("go", args)?.trim()).join("test/config");
    for object in OBJECTS {
        let name = Path::new(object).file_name().context("a file without a name")?;
        fs::write(made.join("config").join(name), fs::read(module.join(object))?)?;
    }
    Ok(made)
}

/// The images, in the form of `docker save`; those of the same versions are not built again.
fn images(end: Instant, tools: &Path, made: &Path) -> Result<()> {
    let (archive, record) = (made.join("images.tar"), made.join("images.versions"));
    let ko = sh::root().join("tools/ko");
    let versions = format!("{}{}", fs::read_to_string(tools.join("go.mod"))?, fs::read_to_string(ko.join("go.mod"))?);
    if archive.is_file() && fs::read_to_string(&record).is_ok_and(|built| built == versions) {
        return Ok(());
    }
    let left = || end.saturating_duration_since(Instant::now());
    let program = build::ko(left())?;
    let pattern = format!("{TESTS}/test_images/...");
    let main = r#"{{if eq .Name "main"}}{{.ImportPath}}{{end}}"#;
    let packages = sh::output("go", ["-C", &tools.display().to_string(), "list", "-f", main, &pattern])?;
    let registry = Registry::start(&made.join("registry"))?;
    let base = registry.base(made)?;
    let mut ko = sh::command(program, ["build", "--base-import-paths", "--sbom=none", "--jobs=2", "--push=false"]);
    ko.arg("--tarball").arg(&archive).args(packages.split_whitespace()).current_dir(tools);
    ko.env("CGO_ENABLED", "0").env("KO_DOCKER_REPO", REPOSITORY).env("KO_DEFAULTBASEIMAGE", base);
    sh::check_within(left(), &mut ko)?;
    fs::write(record, versions)?;
    Ok(())
}

/// A registry for the base image, which ko takes from nowhere else; gone with this value.
struct Registry {
    crane: PathBuf,
    serving: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self> {
        let crane = build::crane()?;
        fs::create_dir_all(folder)?;
        // crane says which port it took only in its log; one that was free a moment ago is.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = sh::command(&crane, ["registry", "serve", "--address", &address.to_string(), "--disk"]);
        let serving = command.arg(folder).stderr(Stdio::null()).spawn().context("cannot start crane")?;
        let registry = Self { crane, serving, address, folder: folder.to_owned() };
        let end = Instant::now() + LISTENS_WITHIN;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= end {
                bail!("crane does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Makes the base image: a place for temporary files, and a user who is nobody in particular.
    fn base(&self, made: &Path) -> Result<String> {
        let (root, layer) = (made.join("base"), made.join("base.tar"));
        for folder in ["tmp", "etc", "home/nonroot", "var/log"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/\nnonroot:x:65532:65532::/home/nonroot:/\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\nnonroot:x:65532:\n")?;
        let mut tar = sh::command("tar", ["--owner=0", "--group=0", "--sort=name", "--mtime=@0", "--mode=a+rX,u+w"]);
        sh::check(tar.arg("-C").arg(&root).arg("-cf").arg(&layer).args(["etc", "home", "var"]))?;
        let mut tar = sh::command("tar", ["--owner=0", "--group=0", "--mtime=@0", "--mode=1777"]);
        sh::check(tar.arg("-C").arg(&root).arg("-rf").arg(&layer).arg("tmp"))?;
        let [raw, base] = ["raw", "latest"].map(|tag| format!("{}/base:{tag}", self.address));
        sh::check(self.crane().arg("append").arg("--oci-empty-base").arg("-f").arg(layer).args(["-t", &raw]))?;
        let mut mutate = self.crane();
        mutate.args(["mutate", &raw, "--user", "65532", "--workdir", "/home/nonroot", "--env", "PATH=/usr/bin:/bin"]);
        sh::check(mutate.args(["--set-platform", &platform(), "-t", &base]))?;
        Ok(base)
    }

    fn crane(&self) -> Command {
        sh::command(&self.crane, [""; 0])
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Neither can fail for a child that was not waited for; what is left in the folder is made anew the next time.
        let _ = self.serving.kill();
        let _ = self.serving.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// This machine, as Go calls it.
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

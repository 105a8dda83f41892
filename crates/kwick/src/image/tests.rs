//! The commands against a registry over an empty store, on loopback.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base_image::assemble::{ImageSpec, LayerTree, assemble_layout};
use base_image::compress::Decoder;
use base_image::media_type::Compression;
use base_image::registry_server::{Access, Registry};
use base_image::tar_stream::{Sequential, TarStream};
use base_image::{Image, ImageConfig, OwnNames, Platform, Store};
use base_net::listen::Listener;
use base_net::serve::{Server, ServerConfig};
use base_net::{Body, Request, Response};
use base_rt::metrics::Scope;
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks};
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::program::{self, ProgramError};
use super::{ImageCommand, run};

/// A command line after `kwick image`.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: ImageCommand,
}

struct Bench {
    dir: TempDir,
    store: Store,
    registry: SocketAddr,
    _shutdown: ShutdownHandle,
}

impl Bench {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = OwnNames::new("registry.kwick-system.svc.cluster.local", ["127.0.0.1:5000", "localhost:5000"]);
        let store = Store::open(&dir.path().join("store"), own).unwrap();
        let (handle, shutdown) = Shutdown::new();
        let (tasks, metrics) = (Tasks::new(shutdown), Scope::root());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Registry::new(store.clone(), Clock::system(), &metrics);
        let service = move |_: &_| {
            ServiceExt::<Request>::map_response(registry.service(Access::Full), |response| -> Response {
                response.map(Body::wrap)
            })
        };
        let server = Server::new(ServerConfig::new("registry"), &tasks, &metrics);
        server.start(Listener::from_fd(listener.into()).unwrap(), service).unwrap();
        Self { dir, store, registry: address, _shutdown: handle }
    }

    /// What a command line answers, or its error with every cause.
    async fn image(&self, line: &[&str]) -> Result<String, String> {
        image_at(self.registry, line).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    /// The image of that name, for this machine.
    fn stored(&self, name: &str) -> Image {
        let record = self.store.record(&name.parse().unwrap()).unwrap_or_else(|| panic!("there is no {name}"));
        self.store.image(record.digest).unwrap()
    }

    /// Every file of an image's only layer, with its mode.
    fn files(&self, image: &Image) -> Vec<String> {
        let [layer] = image.layers.as_slice() else { panic!("{} layers", image.layers.len()) };
        let decoder = Decoder::new(self.store.open_blob(layer.digest).unwrap()).unwrap();
        let mut stream = TarStream::new(Sequential(decoder));
        let mut files = Vec::new();
        while let Some(entry) = stream.next_entry().unwrap() {
            let mut content = Vec::new();
            stream.read_to_end(&mut content).unwrap();
            files.push(format!("{} {:o} {}", String::from_utf8(entry.path).unwrap(), entry.mode, content.len()));
        }
        files
    }
}

async fn image_at(registry: SocketAddr, line: &[&str]) -> Result<String, String> {
    let line = Line::try_parse_from(["image"].iter().chain(line)).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    match run(line.command, registry, &mut out).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(base_rt::error_chain(&error)),
    }
}

/// The header of a program for `machine`, with an interpreter if there is one.
fn program(machine: u16, interpreter: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64] = if interpreter.is_empty() { 1 } else { 3 };
    bytes[64 + 8] = 120;
    bytes[64 + 32] = u8::try_from(interpreter.len()).unwrap();
    bytes.extend_from_slice(interpreter.as_bytes());
    bytes
}

/// ELF's number for this machine.
fn this_machine() -> u16 {
    if cfg!(target_arch = "aarch64") { 183 } else { 62 }
}

#[tokio::test]
async fn a_program_is_packed_listed_and_removed() {
    let bench = Bench::start();
    let binary = bench.write("hello", &program(this_machine(), ""));
    fs::create_dir_all(bench.path("assets/css")).unwrap();
    bench.write("assets/css/a.css", b"a{}");
    let assets = format!("{}:/srv/assets", bench.path("assets").display());
    let line = [
        &["pack", &binary, "--name", "hello", "--port", "8080", "--env", "TARGET=you", "--user", "65532"][..],
        &["--file", &assets],
    ]
    .concat();
    let said = bench.image(&line).await.unwrap();
    let image = bench.stored("docker.io/library/hello:latest");
    assert!(said.starts_with(&format!("packed hello {} (", image.digest)), "{said}");
    assert_eq!(image.config.entrypoint, ["/hello"]);
    assert_eq!((image.config.env.as_slice(), image.config.user.as_str()), (&["TARGET=you".to_owned()][..], "65532"));
    assert_eq!(image.config.exposed_ports.iter().collect::<Vec<_>>(), ["8080/tcp"]);
    assert_eq!(
        bench.files(&image),
        ["hello 755 120", "srv/ 755 0", "srv/assets/ 755 0", "srv/assets/css/ 755 0", "srv/assets/css/a.css 644 3"]
    );
    assert_eq!(bench.image(&line).await.unwrap(), said, "the same again");

    let listed = bench.image(&["list"]).await.unwrap();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    let platform = Platform::host().to_string();
    assert_eq!(rows[0], ["NAME", "DIGEST", "SIZE", "PLATFORM", "ORIGIN", "SINCE"]);
    let digest = image.digest.to_string();
    assert_eq!(rows.len(), 2, "{listed}");
    assert_eq!([rows[1][0], rows[1][1], rows[1][3], rows[1][4]], ["hello", &digest[..19], &platform, "local"]);

    assert_eq!(bench.image(&["rm", "hello"]).await.unwrap(), "removed hello\n");
    assert_eq!(bench.image(&["list", "-o", "json"]).await.unwrap(), "[]\n");
    let error = bench.image(&["rm", "hello"]).await.unwrap_err();
    assert!(error.starts_with("cannot remove hello: image docker.io/library/hello:latest was not found"), "{error}");
}

#[tokio::test]
async fn an_image_is_the_same_under_each_of_the_registrys_names() {
    let bench = Bench::start();
    let mut tree = LayerTree::new();
    tree.add_bytes("app", 0o755, "x").unwrap();
    let config = ImageConfig { platform: Platform::host(), ..ImageConfig::default() };
    let spec = ImageSpec { config, layers: vec![tree], compression: Compression::Gzip };
    let layout = bench.path("layout");
    let digest = assemble_layout(&layout, &spec).unwrap();
    let layout = layout.display().to_string();

    let nameless = bench.image(&["import", &layout]).await.unwrap_err();
    assert!(nameless.contains("name it with --name REFERENCE"), "{nameless}");
    let said = bench.image(&["import", &layout, "--name", "127.0.0.1:5000/hello:v1"]).await.unwrap();
    assert!(said.starts_with(&format!("imported 127.0.0.1:5000/hello:v1 {digest} (")), "{said}");
    for name in ["localhost:5000/hello:v1", "registry.kwick-system.svc.cluster.local/hello:v1"] {
        assert_eq!(bench.stored(name).digest, digest);
    }
    let listed: Value = serde_json::from_str(&bench.image(&["list", "-o", "json"]).await.unwrap()).unwrap();
    assert_eq!(listed[0]["reference"], "registry.kwick-system.svc.cluster.local/hello:v1");
    assert_eq!((listed[0]["digest"].as_str(), listed.as_array().map(Vec::len)), (Some(&*digest.to_string()), Some(1)));
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let bench = Bench::start();
    let script = bench.write("run.sh", b"#!/bin/sh\n");
    let absent = bench.path("absent.tar").display().to_string();
    let rows: [(&[&str], &str); 7] = [
        (&["import", &absent], "absent.tar: read "),
        (&["import", &script], "is not an image archive: expected an OCI layout directory"),
        (&["import", &absent, "--name", "Bad Name"], "invalid value 'Bad Name' for '--name <REF>'"),
        (&["pack", &script, "--name", "a"], "it is not a program for 64-bit Linux"),
        (&["pack", &script, "--name", "a", "--file", "x:y"], "write it as SOURCE:TARGET with an absolute TARGET"),
        (&["pack", &script, "--name", "a", "--env", "x"], "write it as NAME=VALUE"),
        (&["pack", &script, "--name", "a", "--user", "root"], "write it as UID or UID:GID"),
    ];
    for (line, expected) in rows {
        let error = bench.image(line).await.unwrap_err();
        assert!(error.contains(expected), "{line:?}: {error}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = image_at(nobody, &["list"]).await.unwrap_err();
    assert!(
        error.starts_with(&format!("the instance's registry does not answer at {nobody}; see `kwick status`")),
        "{error}"
    );
}

#[test]
fn only_programs_that_run_alone_here_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program");
    let check = |bytes: &[u8], targets: &[&str]| {
        fs::write(&path, bytes).unwrap();
        program::check(&path, &targets.iter().map(Path::new).collect::<Vec<_>>())
    };
    let linker = "/lib64/ld-linux.so.2\0";
    check(&program(this_machine(), ""), &[]).unwrap();
    check(&program(this_machine(), linker), &["/lib64"]).unwrap();
    let dynamic = check(&program(this_machine(), linker), &["/lib"]).unwrap_err();
    assert!(dynamic.to_string().contains("(it needs /lib64/ld-linux.so.2)"), "{dynamic}");
    let foreign = check(&program(if this_machine() == 62 { 183 } else { 62 }, ""), &[]).unwrap_err();
    assert!(matches!(foreign, ProgramError::Architecture { .. }), "{foreign}");
    for broken in [&b""[..], b"\x7fELF", &[0; 200]] {
        assert!(matches!(check(broken, &[]).unwrap_err(), ProgramError::NotElf));
    }
    // Headers that lead outside of the file lead nowhere.
    let mut far = program(this_machine(), linker);
    far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    check(&far, &[]).unwrap();
    assert!(matches!(program::check(dir.path(), &[]).unwrap_err(), ProgramError::Read(_)));
}

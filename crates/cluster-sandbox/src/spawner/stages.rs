//! From the first line of `main` to the event loop.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{CWD, FlockOperation, MemfdFlags, Mode, OFlags, flock, memfd_create};
use rustix::mount::OpenTreeFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::config::SpawnerConfig;
use super::machine::{Machine, take_notes};
use super::server::{Process, SIGNALS, Spawner};
use crate::cgroup::{Layout, leave_session};
use crate::container::mounts::leave_machine_mounts;
use crate::privileges::raise_descriptor_limit;
use crate::spec::SpawnerFacts;
use crate::sys::exec::{close_from, execve_file};
use crate::sys::fork::Fork;
use crate::sys::mount::set_attributes;
use crate::sys::signals;
use crate::wire::VERSION;

/// The first argument that makes a process a spawner.
pub(crate) const SPAWNER_ARGUMENT: &str = "__spawner";
const SECOND_STAGE: &str = "serve";
/// The second stage in a process that is the first of its PID namespace and starts its client itself.
pub(crate) const SECOND_STAGE_AS_FIRST_PROCESS: &str = "serve-as-first-process";

/// What a spawner says on standard output, once, when it serves or cannot.
pub(crate) type Started = Result<SpawnerFacts, String>;

const CONFIG_MAX_BYTES: u64 = 1 << 20;
/// The spawner's own messages: when the file has grown over this, the next start moves it aside.
const LOG_MAX_BYTES: u64 = 1 << 20;
const BACKLOG: i32 = 64;
/// Others may pass through the run directory, to the socket; who can open it could hold its lock.
const RUN_DIR_MODE: u32 = 0o711;

/// Whether this process was started to be a spawner. To be asked first thing in `main`.
pub fn is_spawner(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> bool {
    arguments.nth(1).is_some_and(|argument| argument.as_ref() == SPAWNER_ARGUMENT)
}

/// Is the spawner, until the end; `main` returns what this returns.
///
/// The process must have one thread and nothing open but what it was started with.
pub fn run(arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> ExitCode {
    let stage = arguments.into_iter().nth(2);
    let stage = stage.as_ref().and_then(|stage| stage.as_ref().to_str());
    let code = match stage {
        Some(SECOND_STAGE) => serve(false),
        Some(SECOND_STAGE_AS_FIRST_PROCESS) => serve(true),
        _ => detach(),
    };
    ExitCode::from(code)
}

/// The first stage.
fn detach() -> u8 {
    match try_detach() {
        Ok(()) => 0,
        Err(error) => {
            say(&Err(error));
            1
        }
    }
}

fn try_detach() -> Result<(), String> {
    close_from(3).map_err(|error| format!("closing descriptors: {error}"))?;
    let config = read_config()?;
    config.check()?;
    rustix::process::setsid().map_err(|error| format!("starting a session: {error}"))?;
    // Never a session's leader, so never a terminal's owner; and the one who started this has a child to wait for that ends at once.
    Fork::default()
        .run(|| {
            say(&Err(second_stage(&config, SECOND_STAGE)));
            1
        })
        .map_err(|error| format!("starting a process: {error}"))?;
    Ok(())
}

/// Becomes the second stage. Returns only why that failed.
pub(crate) fn second_stage(config: &SpawnerConfig, stage: &str) -> String {
    let attempt = || -> io::Result<io::Error> {
        let layout = Layout::detect()?;
        leave_session(&layout, &config.instance)?;
        rustix::process::chdir("/")?;
        let mut input = File::from(memfd_create("kwick-spawner-config", MemfdFlags::CLOEXEC)?);
        serde_json::to_writer(&mut input, config)?;
        input.rewind()?;
        rustix::stdio::dup2_stdin(&input)?;
        // The first process of a container speaks where the container's own output is looked for.
        if stage != SECOND_STAGE_AS_FIRST_PROCESS {
            rustix::stdio::dup2_stderr(open_log(&config.log_file)?)?;
        }
        let executable = read_only_executable()?;
        let argv = ["kwick-spawner", SPAWNER_ARGUMENT, stage].map(CString::new);
        let argv = argv.into_iter().collect::<Result<Vec<_>, _>>()?;
        // The environment of whoever started this is none of the spawner's.
        Ok(execve_file(executable.as_fd(), &argv, &[]))
    };
    let (Ok(error) | Err(error)) = attempt();
    format!("executing the spawner: {error}")
}

/// This process's executable on a mount of its own that refuses writing: a container's process that opens `/proc/PID/exe` of a process
/// which is still the spawner's copy gets a file it cannot change.
fn read_only_executable() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    set_attributes(view.as_fd(), libc::MOUNT_ATTR_RDONLY, false)?;
    Ok(view)
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_MAX_BYTES) {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)?;
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))?))
}

fn read_config() -> Result<SpawnerConfig, String> {
    let mut text = Vec::new();
    io::stdin()
        .take(CONFIG_MAX_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| format!("reading the configuration: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("the configuration does not parse: {error}"))
}

/// Tells whoever started this how it went.
fn say(started: &Started) {
    let mut output = io::stdout().lock();
    let text = serde_json::to_vec(started).unwrap_or_default();
    if output.write_all(&text).is_err() {
        tracing::warn!("nobody listens to the spawner's start");
    }
    let _ = output.flush();
}

/// The second stage.
fn serve(is_first_process: bool) -> u8 {
    // Its filter is a constant that parses.
    let _ = base_rt::trace::init("info", base_rt::trace::Format::Text);
    let spawner = match prepare(is_first_process) {
        Ok(spawner) => spawner,
        Err(error) => {
            tracing::error!(error, "the spawner cannot start");
            if !is_first_process {
                say(&Err(error));
            }
            return 1;
        }
    };
    if !is_first_process {
        say(&Ok(spawner.facts(VERSION)));
        let silenced = File::options().write(true).open("/dev/null").map(rustix::stdio::dup2_stdout);
        if silenced.is_err() {
            tracing::warn!("standard output stays open");
        }
    }
    match spawner.run() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the event loop failed; containers end with it");
            1
        }
    }
}

fn prepare(is_first_process: bool) -> Result<Spawner, String> {
    let at = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    close_from(3).map_err(at("closing descriptors"))?;
    let config = read_config()?;
    config.check()?;
    // The name that tools show; a failure changes nothing else.
    let _ = rustix::thread::set_name(c"kwick-spawner");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let signals = signals::descriptor(&SIGNALS).map_err(at("reading signals"))?;
    make_run_dir(&config.run_dir).map_err(at("making the run directory"))?;
    let lock = lock_instance(&config.run_dir)
        .map_err(at("locking the run directory (does a spawner of this instance run?)"))?;
    // Held until this process ends, however it ends.
    std::mem::forget(lock);
    take_notes(&config);
    leave_machine_mounts().map_err(at("leaving the machine's mounts"))?;
    let machine = Machine::prepare(&config)?;
    let door = open_door(&config).map_err(at("opening the socket"))?;
    let mut spawner = Spawner::new(config, machine, door, signals).map_err(at("starting the event loop"))?;
    spawner.sweep();
    if is_first_process {
        let nothing = File::open("/dev/null").map_err(at("opening /dev/null"))?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| at("closing the input")(error.into()))?;
        spawner.start_child().map_err(at("starting the client"))?;
    }
    Ok(spawner)
}

fn make_run_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(RUN_DIR_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes the lock that says "this instance has a living spawner". It is on the run directory itself, and so goes with it at once: whoever
/// looks never finds a directory whose lock has gone first, nor makes anything in it.
pub(crate) fn lock_instance(run_dir: &Path) -> io::Result<File> {
    let lock = File::open(run_dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

fn open_door(config: &SpawnerConfig) -> io::Result<OwnedFd> {
    let path = config.socket_path();
    crate::removal::remove_tree(&path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let door = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&door, &SocketAddrUnix::new(&path)?)?;
    chown(&path, Some(config.owner.uid), Some(config.owner.gid))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&door, BACKLOG)?;
    Ok(door)
}

impl Spawner {
    /// Starts the client that the configuration names.
    fn start_child(&mut self) -> io::Result<()> {
        let Some(child) = &self.config.child else { return Ok(()) };
        let command: Vec<_> = child.command.iter().map(|part| CString::new(part.as_str())).collect::<Result<_, _>>()?;
        let Some(program) = command.first().cloned() else { return Ok(()) };
        let env = child
            .env
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<Result<Vec<_>, _>>()?;
        let pid = Fork::default().run(|| {
            let reset = signals::reset_for_exec();
            let error = reset.map_or_else(|error| error, |()| crate::sys::exec::execve(&program, &command, &env));
            tracing::error!(%error, "the client cannot be executed");
            127
        })?;
        self.processes.insert(pid, Process::Client);
        self.child = Some(pid);
        Ok(())
    }
}

//! Work that takes long, done by children so that the spawner never waits: unpacking layers, removing trees, making storages and giving them
//! to groups, measuring pods.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base_image::Layer;
use base_image::unpack::{LayersDir, UnpackOptions};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitStatus};
use rustix::thread::UnshareFlags;

use super::answers::{Outcome, Reply, Said, refuse, refuse_failed};
use super::measuring::Measuring;
use super::server::{Process, Spawner};
use super::storage::{Preparing, Removing};
use crate::container::tree::Tree;
use crate::removal::remove_tree;
use crate::spec::{Check, LayerName, UnpackSpec};
use crate::sys::exec::close_all_but;
use crate::sys::fork::Fork;
use crate::sys::namespaces::unshare;
use crate::wire::{Answer, Refusal, RefusalCode};

/// Running and waiting work.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Vec<Job>,
    /// Layers to unpack when there is room.
    waiting: VecDeque<Unpack>,
    /// Trees to remove when nobody is removing.
    discarded: Vec<PathBuf>,
}

#[derive(Debug)]
struct Job {
    pid: Pid,
    work: Work,
    /// Says what came of it, or what went wrong.
    said: File,
}

#[derive(Debug)]
pub(super) enum Work {
    Unpack(Unpack),
    Prepare(Box<Preparing>),
    RemoveStorage(Removing),
    Measure(Box<Measuring>),
    Remove,
}

#[derive(Debug)]
pub(super) struct Unpack {
    spec: UnpackSpec,
    /// All who asked for this layer.
    replies: Vec<Reply>,
}

const WAITING_MAX: usize = 1024;
/// So many trees are removed even if there is no quiet moment.
const HEAP: usize = 32;
const SAID_MAX_BYTES: u64 = 16 << 10;
/// What a layer or a directory that is being removed is called; `base_image` sweeps such names too.
pub(super) const DEAD: &str = ".dead-";

impl Jobs {
    /// Whether many trees wait to be removed.
    pub(super) fn is_heap(&self) -> bool {
        self.discarded.len() >= HEAP
    }

    /// What is being done.
    pub(super) fn works(&self) -> impl Iterator<Item = &Work> {
        self.running.iter().map(|job| &job.work)
    }

    /// Whether any tree waits to be removed.
    pub(super) fn has_discarded(&self) -> bool {
        !self.discarded.is_empty()
    }
}

impl Spawner {
    /// Unpacks a layer, unless it is there. The answer follows.
    pub(super) fn unpack(&mut self, spec: UnpackSpec, reply: Reply) -> Result<(), Refusal> {
        spec.check().map_err(refuse)?;
        self.require_open()?;
        if self.layers_dir()?.contains(spec.chain_id) {
            self.answer(reply, Ok(Said::plain(Answer::Done)));
            return Ok(());
        }
        let running = self.jobs.running.iter_mut().filter_map(|job| match &mut job.work {
            Work::Unpack(unpack) => Some(unpack),
            Work::Prepare(_) | Work::RemoveStorage(_) | Work::Measure(_) | Work::Remove => None,
        });
        let same = running.chain(self.jobs.waiting.iter_mut()).find(|unpack| unpack.spec == spec);
        if let Some(unpack) = same {
            unpack.replies.push(reply);
            return Ok(());
        }
        if self.jobs.waiting.len() >= WAITING_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("{WAITING_MAX} layers wait to be unpacked")));
        }
        self.jobs.waiting.push_back(Unpack { spec, replies: vec![reply] });
        self.run_jobs();
        Ok(())
    }

    pub(super) fn layers(&self) -> Outcome {
        let layers = self.layers_dir()?.list();
        let layers = layers.map_err(|error| Refusal::new(RefusalCode::Failed, base_rt::error_chain(&error)))?;
        let names = layers.into_iter().filter_map(|chain_id| LayerName::try_new(chain_id.hex()).ok());
        Ok(Said::plain(Answer::Layers(names.collect())))
    }

    fn layers_dir(&self) -> Result<LayersDir, Refusal> {
        let opened = LayersDir::open(&self.config.layers_dir);
        opened.map_err(|error| Refusal::new(RefusalCode::Failed, base_rt::error_chain(&error)))
    }

    /// Takes a layer's name away at once, and its content soon.
    pub(super) fn remove_layer(&mut self, layer: &LayerName) -> Outcome {
        let is_used =
            self.containers.values().any(|container| container.is_alive() && container.spec.layers.contains(layer));
        if is_used {
            return Err(Refusal::new(RefusalCode::Busy, format!("layer {layer} is in use")));
        }
        let path = self.config.layers_dir.join(layer.as_str());
        let missing = || Refusal::new(RefusalCode::NotFound, format!("there is no layer {layer}"));
        if !path.exists() {
            return Err(missing());
        }
        let name = self.unique(&format!("{DEAD}{layer}"));
        let aside = self.config.layers_dir.join(name);
        fs::rename(&path, &aside).map_err(refuse_failed("removing a layer"))?;
        self.discard(aside);
        Ok(Said::plain(Answer::Done))
    }

    /// Has unfinished layers, unwanted logs and storages of an earlier spawner removed. Before the first unpacking.
    pub(super) fn sweep(&mut self) {
        let layers = self.config.layers_dir.clone();
        if let Err(failure) = self.start_job(Work::Remove, || sweep(&layers).map(|()| String::new())) {
            tracing::warn!(reason = failure.1.message, "unfinished layers were not removed");
        }
        // No storage's own name begins with a dot.
        for (directory, start) in [(self.config.logs_dir.clone(), DEAD), (self.config.storage_dir.clone(), ".")] {
            match leftovers(&directory, start) {
                Ok(found) => found.into_iter().for_each(|path| self.discard(path)),
                Err(error) => tracing::warn!(path = %directory.display(), %error, "leftovers were not looked for"),
            }
        }
    }

    /// A file name that no other call returns.
    pub(super) fn unique(&mut self, name: &str) -> String {
        self.names_made += 1;
        format!("{name}-{}", self.names_made)
    }

    /// Takes a tree's name away at once, and has the tree removed soon.
    pub(super) fn discard_named(&mut self, path: PathBuf) {
        let aside = path.with_file_name(self.unique(DEAD));
        match fs::rename(&path, &aside) {
            Ok(()) => self.discard(aside),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => self.discard(path),
        }
    }

    /// Has a tree removed, some time soon.
    pub(super) fn discard(&mut self, path: PathBuf) {
        self.jobs.discarded.push(path);
    }

    /// Starts what can be started. Called when the spawner has nothing more urgent to do.
    pub(super) fn run_jobs(&mut self) {
        let unpacking = self.jobs.running.iter().filter(|job| matches!(job.work, Work::Unpack(_))).count();
        let room = usize::from(self.config.unpackers.max(1)).saturating_sub(unpacking);
        for _ in 0..room {
            let Some(unpack) = self.jobs.waiting.pop_front() else { break };
            self.start_unpack(unpack);
        }
        let is_removing = self.jobs.running.iter().any(|job| matches!(job.work, Work::Remove));
        if !is_removing && !self.jobs.discarded.is_empty() {
            let paths = std::mem::take(&mut self.jobs.discarded);
            let started = self.start_job(Work::Remove, || remove_all(&paths).map(|()| String::new()));
            if let Err(failure) = started {
                tracing::warn!(reason = failure.1.message, "trees could not be removed; trying again");
                self.jobs.discarded = paths;
            }
        }
    }

    fn start_unpack(&mut self, unpack: Unpack) {
        let spec = unpack.spec.clone();
        let (blobs, owner) = (self.config.blobs_dir.clone(), self.config.owner.uid);
        let layers = self.config.layers_dir.clone();
        let run = || unpack_layer(&spec, (&blobs, owner), &layers).map(|()| String::new());
        let started = self.start_job(Work::Unpack(unpack), run);
        if let Err((Work::Unpack(unpack), refusal)) = started.map_err(|failure| *failure) {
            unpack.replies.into_iter().for_each(|reply| self.answer(reply, Err(refusal.clone())));
        }
    }

    /// Starts a child that runs `run`; what that returns is known when it has ended.
    pub(super) fn start_job(
        &mut self,
        work: Work,
        run: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), Box<(Work, Refusal)>> {
        let (said, say) = match rustix::pipe::pipe_with(PipeFlags::CLOEXEC) {
            Ok(ends) => ends,
            Err(error) => return Err(Box::new((work, refuse_failed("making pipes")(error)))),
        };
        let forked = Fork::default().run(|| {
            // Nobody takes the result if the spawner is gone.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            // Work may go on for long after a pod has gone or a listener was given up whose descriptors it would hold.
            let outcome =
                close_all_but(&say).map_err(|error| format!("closing descriptors: {error}")).and_then(|()| run());
            finish(&say, outcome)
        });
        match forked {
            Ok(pid) => {
                self.processes.insert(pid, Process::Job);
                self.jobs.running.push(Job { pid, work, said: File::from(said) });
                Ok(())
            }
            Err(error) => Err(Box::new((work, refuse_failed("starting a process")(error)))),
        }
    }

    /// A job's process has ended.
    pub(super) fn reap_job(&mut self, pid: Pid, status: WaitStatus) {
        let Some(at) = self.jobs.running.iter().position(|job| job.pid == pid) else { return };
        let job = self.jobs.running.swap_remove(at);
        let mut text = String::new();
        let _ = job.said.take(SAID_MAX_BYTES).read_to_string(&mut text);
        let outcome = match status.exit_status() {
            Some(0) => Ok(text),
            _ if text.is_empty() => Err(format!("its process ended unexpectedly ({status:?})")),
            _ => Err(text),
        };
        match job.work {
            Work::Unpack(unpack) => self.unpacked(unpack, outcome),
            Work::Prepare(preparing) => self.storage_prepared(*preparing, outcome),
            Work::RemoveStorage(removing) => self.storage_removed(removing, outcome),
            Work::Measure(measuring) => self.measured(*measuring, outcome),
            Work::Remove => {
                if let Err(reason) = outcome {
                    tracing::warn!(reason, "a tree could not be removed");
                }
            }
        }
        self.run_jobs();
    }

    fn unpacked(&mut self, unpack: Unpack, outcome: Result<String, String>) {
        let outcome =
            outcome.map_err(|text| self.failed_job(format!("unpacking layer {}: {text}", unpack.spec.chain_id)));
        for reply in unpack.replies {
            self.answer(reply, outcome.clone().map(|_| Said::plain(Answer::Done)));
        }
    }

    /// What to say of work that has come to nothing.
    pub(super) fn failed_job(&self, message: String) -> Refusal {
        // Then it was cancelled.
        let refused = self.require_open();
        refused.err().unwrap_or_else(|| Refusal::new(RefusalCode::Failed, message))
    }

    /// Whether anything is still being done or waiting to be.
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.running.is_empty() || !self.jobs.discarded.is_empty()
    }

    /// Gives up what nothing depends on: the spawner ends.
    pub(super) fn cancel_jobs(&mut self) {
        for unpack in std::mem::take(&mut self.jobs.waiting) {
            self.unpacked(unpack, Err(String::new()));
        }
        let is_vain = |work: &Work| matches!(work, Work::Unpack(_) | Work::Prepare(_) | Work::Measure(_));
        for job in self.jobs.running.iter().filter(|job| is_vain(&job.work)) {
            let _ = rustix::process::kill_process(job.pid, Signal::KILL);
        }
    }
}

fn finish(say: &OwnedFd, outcome: Result<String, String>) -> u8 {
    let code = u8::from(outcome.is_err());
    let (Ok(text) | Err(text)) = outcome;
    // Cut where a reader stops anyway; a pipe takes that much at once.
    let bytes = text.as_bytes().iter().copied().take(SAID_MAX_BYTES as usize).collect::<Vec<_>>();
    let _ = rustix::io::write(say, &bytes);
    code
}

fn remove_all(paths: &[PathBuf]) -> Result<(), String> {
    let mut problems = Vec::new();
    for path in paths {
        if let Err(error) = remove_tree(path) {
            problems.push(format!("{}: {error}", path.display()));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Runs in a child whose root is the directory of layers: whatever an archive says, nothing else of the machine can be named.
///
/// `blobs` are where they should be, and whose.
fn unpack_layer(spec: &UnpackSpec, blobs: (&Path, u32), layers: &Path) -> Result<(), String> {
    let at = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let (blobs, owner) = blobs;
    // The client owns the blobs and may make anything of them at any time: a link, also of their directory, a FIFO. So no link is followed
    // below, and only what is the client's own is read; what is read is verified while it is read.
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(blobs, place, Mode::empty());
    let directory = directory.map_err(|error| at("opening the blobs")(error.into()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let blob = Tree::without_links(directory.as_fd()).open(&spec.blob, flags);
    let blob = File::from(blob.map_err(|error| at("opening the blob")(error.into()))?);
    let metadata = blob.metadata().map_err(at("opening the blob"))?;
    if !metadata.is_file() {
        return Err("the blob is not a file".to_owned());
    }
    if metadata.uid() != owner {
        return Err("the blob is not the client's own".to_owned());
    }
    confine(layers).map_err(at("confining the unpacker"))?;
    let layer = Layer { digest: spec.digest, size: spec.size, diff_id: spec.diff_id, chain_id: spec.chain_id };
    let unpacked = LayersDir::open(Path::new("/"))
        .and_then(|layers| layers.unpack(&layer, &spec.below, blob, &UnpackOptions::default()));
    let report = unpacked.map_err(|error| base_rt::error_chain(&error))?;
    tracing::info!(layer = %spec.chain_id, ?report, "a layer was unpacked");
    Ok(())
}

/// What an earlier spawner did not come to complete or to remove, by how the names of such things begin.
fn leftovers(directory: &Path, start: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
    let is_left = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(start);
    Ok(entries.into_iter().filter(is_left).map(|entry| entry.path()).collect())
}

/// Removes what an earlier spawner began and did not finish.
fn sweep(layers: &Path) -> Result<(), String> {
    let swept = LayersDir::open(layers).and_then(|layers| layers.remove_leftovers());
    swept.map_err(|error| base_rt::error_chain(&error))
}

/// Makes `directory` the root of this process, without network.
fn confine(directory: &Path) -> std::io::Result<()> {
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC)?;
    rustix::process::chdir(directory)?;
    rustix::process::chroot(".")?;
    Ok(())
}

//! How much of the disk a pod takes: counted by a child, for as long as it may take.

use std::path::PathBuf;
use std::time::Duration;

use super::answers::{Outcome, Reply, Said};
use super::jobs::Work;
use super::pods::no_pod;
use super::server::Spawner;
use crate::disk_usage::disk_usage;
use crate::spec::{ContainerId, DiskUsage, PodId, VolumeKind, VolumeName};
use crate::sys::time::Moment;
use crate::wire::{Answer, Refusal, RefusalCode};

/// So many pods are measured at the same time.
const MEASURING_MAX: usize = 4;
/// How long one measurement takes at most; what is not counted by then is left out.
const MEASURED_FOR: Duration = Duration::from_secs(30);
/// Counting is less urgent than whatever runs.
const NICENESS: i32 = 10;

/// A measurement that is being made.
#[derive(Debug)]
pub(super) struct Measuring {
    containers: Vec<ContainerId>,
    volumes: Vec<VolumeName>,
    reply: Reply,
}

impl Spawner {
    /// Measures what a pod's containers and volumes take of the disk. The answer follows.
    pub(super) fn measure(&mut self, id: &PodId, reply: Reply) -> Result<(), Refusal> {
        self.require_open()?;
        let pod = self.pods.get(id).ok_or_else(|| no_pod(id))?;
        if self.jobs.works().filter(|work| matches!(work, Work::Measure(_))).count() >= MEASURING_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("{MEASURING_MAX} pods are being measured")));
        }
        let on_disk = pod.spec.volumes.iter().filter(|volume| volume.kind == VolumeKind::Disk);
        let volumes = on_disk.filter_map(|volume| Some((volume.name.clone(), pod.volumes.get(&volume.name)?.clone())));
        let (volumes, volume_paths): (Vec<_>, Vec<_>) = volumes.unzip();
        let (containers, mut paths): (Vec<_>, Vec<_>) = self.written_by(id).unzip();
        paths.extend(volume_paths);
        let measuring = Measuring { containers, volumes, reply };
        let started = self.start_job(Work::Measure(Box::new(measuring)), move || Ok(measure_all(&paths)));
        started.map_err(|failure| failure.1)
    }

    /// A measurement has been made, or not.
    pub(super) fn measured(&mut self, measuring: Measuring, outcome: Result<String, String>) {
        let Measuring { containers, volumes, reply } = measuring;
        let outcome = outcome.and_then(|text| read(&text, containers, volumes).ok_or(text));
        let outcome: Outcome = match outcome {
            Ok(usage) => Ok(Said::plain(Answer::DiskUsage(usage))),
            Err(text) => Err(self.failed_job(format!("measuring a pod: {text}"))),
        };
        self.answer(reply, outcome);
    }
}

/// Counts each tree; says `BYTES…`, and `-` at the end if that is not all.
fn measure_all(paths: &[PathBuf]) -> String {
    // If it cannot be so, it is as urgent as others.
    let _ = rustix::process::nice(NICENESS);
    let deadline = Moment::now().after(MEASURED_FOR);
    let counts: Vec<_> = paths.iter().map(|path| disk_usage(path, deadline)).collect();
    let mut words: Vec<_> = counts.iter().map(|(bytes, _)| bytes.to_string()).collect();
    if counts.iter().any(|(_, is_whole)| !is_whole) {
        words.push("-".to_owned());
    }
    words.join(" ")
}

/// Puts names to what a child has counted; none if it has not said it all.
fn read(text: &str, containers: Vec<ContainerId>, volumes: Vec<VolumeName>) -> Option<DiskUsage> {
    let is_whole = !text.ends_with('-');
    let words = text.split_whitespace().filter(|word| *word != "-");
    let mut counts = words.map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
    if counts.len() != containers.len() + volumes.len() {
        return None;
    }
    let of_volumes = counts.split_off(containers.len());
    Some(DiskUsage {
        containers: containers.into_iter().zip(counts).collect(),
        volumes: volumes.into_iter().zip(of_volumes).collect(),
        is_whole,
    })
}

//! The loop over inputs of one target, within bounds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::mutate::{MAX_BYTES, Random, mutate};
use crate::targets::{TARGETS, Target};
use crate::{Enough, corpus};

/// All memory that a target may have, its program included.
const MEMORY_BYTES: u64 = 1 << 30;
/// As the threads have on which requests are answered.
const STACK_BYTES: usize = 2 << 20;
/// No input of [`MAX_BYTES`] may take so much of the processor, in an unoptimised build. What others take of it does not count.
const SLOW: Duration = Duration::from_secs(5);
/// How often what came of an input is changed further.
const GENERATIONS: usize = 20;

/// Tries mutations for a while; the input that is being tried is in the file `current`.
pub(crate) fn work(name: &str, enough: Enough, seed: u64, current: &Path) -> Result<()> {
    let target = find(name)?;
    let corpus = corpus::of(name)?;
    let current = File::create(current).context("make the file of the current input")?;
    let count = on_small_stack(move || {
        let begun = Instant::now();
        // The corpus itself comes first.
        let mut count = 0_u64;
        for input in &corpus {
            note(input, &current)?;
            measured(target, input, SLOW)?;
            count += 1;
        }
        let mut random = Random(seed);
        let is_enough = |count| match enough {
            Enough::After(time) => begun.elapsed() >= time,
            Enough::Inputs(wanted) => count >= wanted,
        };
        while !is_enough(count) {
            let mut input = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
            for _ in 0..1 + random.below(GENERATIONS) {
                mutate(&mut input, &corpus, &mut random);
                note(&input, &current)?;
                measured(target, &input, SLOW)?;
                count += 1;
            }
        }
        Ok(count)
    })?;
    println!("{name}: {count} inputs from seed {seed}");
    Ok(())
}

/// Tries one input.
pub(crate) fn replay(name: &str, input: Vec<u8>) -> Result<()> {
    let target = find(name)?;
    let taken = on_small_stack(move || measured(target, &input, SLOW))?;
    println!("{name}: {taken:?} of the processor");
    Ok(())
}

fn find(name: &str) -> Result<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target).with_context(|| format!("there is no target {name}"))
}

/// Leaves an input where it is found if it ends everything.
fn note(input: &[u8], current: &File) -> Result<()> {
    current.set_len(input.len().min(MAX_BYTES) as u64).context("note the input")?;
    current.write_all_at(input, 0).context("note the input")
}

/// Tries one input; how much of the processor it took, if that is not more than it may.
fn measured(target: Target, input: &[u8], limit: Duration) -> Result<Duration> {
    let begun = processor_time();
    target(input);
    let taken = processor_time().saturating_sub(begun);
    if taken > limit {
        bail!("an input of {} bytes took {taken:?} of the processor", input.len());
    }
    Ok(taken)
}

/// What this process has taken of the processor: a target may have threads.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs().try_into().unwrap_or_default())
}

fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let usual = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY_BYTES), ..usual }).context("bound the memory")?;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).context("start a thread")?;
    // What it says of itself stands above.
    thread.join().unwrap_or_else(|_| bail!("it panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_takes_too_much_of_the_processor_is_an_error() {
        let works: Target = |input| assert!(!std::hint::black_box(input.repeat(1 << 20)).is_empty());
        let error = measured(works, b"word", Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("an input of 4 bytes took"), "{error}");
    }
}

//! The loop over inputs of one target, within bounds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::mutate::{MAX_BYTES, Random, mutate};
use crate::targets::{TARGETS, Target};
use crate::{Bounds, corpus};

/// All memory that a target may have, its program included.
const MEMORY_BYTES: u64 = 1 << 30;
/// As the threads have on which requests are answered.
const STACK_BYTES: usize = 2 << 20;
/// No input of [`MAX_BYTES`] may take so long, in an unoptimised build on a busy machine.
const SLOW: Duration = Duration::from_secs(5);
/// How often what came of an input is changed further.
const GENERATIONS: usize = 20;

/// Tries mutations for a while; the input that is being tried is in the file `current`.
pub(crate) fn work(name: &str, bounds: Bounds, seed: u64, current: &Path) -> Result<()> {
    let target = find(name)?;
    let corpus = corpus::of(name)?;
    let current = File::create(current).context("make the file of the current input")?;
    let count = on_small_stack(move || {
        let deadline = Instant::now() + Duration::from_secs(bounds.seconds);
        // The corpus itself comes first.
        let mut count = 0_u64;
        for input in &corpus {
            try_one(target, input, &current)?;
            count += 1;
        }
        let mut random = Random(seed);
        while count < bounds.inputs && Instant::now() < deadline {
            let mut input = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
            for _ in 0..1 + random.below(GENERATIONS) {
                mutate(&mut input, &corpus, &mut random);
                try_one(target, &input, &current)?;
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
    let elapsed = on_small_stack(move || {
        let begun = Instant::now();
        target(&input);
        Ok(begun.elapsed())
    })?;
    println!("{name}: {elapsed:?}");
    Ok(())
}

fn find(name: &str) -> Result<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target).with_context(|| format!("there is no target {name}"))
}

fn try_one(target: Target, input: &[u8], current: &File) -> Result<()> {
    current.set_len(input.len().min(MAX_BYTES) as u64).context("note the input")?;
    current.write_all_at(input, 0).context("note the input")?;
    let begun = Instant::now();
    target(input);
    let elapsed = begun.elapsed();
    if elapsed > SLOW {
        bail!("an input of {} bytes took {elapsed:?}", input.len());
    }
    Ok(())
}

fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let usual = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY_BYTES), ..usual }).context("bound the memory")?;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).context("start a thread")?;
    // What it says of itself stands above.
    thread.join().unwrap_or_else(|_| bail!("it panicked"))
}

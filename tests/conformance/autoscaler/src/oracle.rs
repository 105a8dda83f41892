//! Knative's autoscaler in a process of its own: `tools/autoscaler-oracle`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::question::Question;

/// So much is shown of what it said last, in bytes.
const SHOWN: u64 = 4000;

/// The process. It ends when its input does.
pub(crate) struct Oracle {
    process: Child,
    input: BufWriter<ChildStdin>,
    output: Output,
}

/// What it writes.
struct Output {
    answers: BufReader<ChildStdout>,
    /// What else it says, of which Knative's code does much.
    said: File,
}

impl Oracle {
    /// Starts the program.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let said = tempfile::tempfile()?;
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = process.stdin.take().context("it has no input")?;
        let answers = process.stdout.take().context("it has no output")?;
        let output = Output { answers: BufReader::new(answers), said };
        Ok(Self { process, input: BufWriter::new(input), output })
    }

    /// The answers to the questions of these numbers, one after the other. Meanwhile it works on the next.
    pub(crate) fn answers<Q: Question>(
        &mut self,
        numbers: std::ops::Range<u64>,
        seed: u64,
        mut with: impl FnMut(u64, &Q, &Q::Answer) -> Result<()>,
    ) -> Result<()> {
        let Self { process, input, output } = self;
        std::thread::scope(|scope| {
            let written = numbers.clone();
            let writer = scope.spawn(move || -> Result<()> {
                for number in written {
                    write(input, &Q::draw(seed, number))?;
                }
                Ok(input.flush()?)
            });
            let compared = numbers.into_iter().try_for_each(|number| {
                let answer = output.read::<Q>()?;
                with(number, &Q::draw(seed, number), &answer)
            });
            if compared.is_err() {
                // Whoever writes to it would wait for it, and it for whoever reads.
                process.kill()?;
            }
            let written = writer.join().unwrap_or_else(|_| bail!("the questions could not be drawn"));
            compared.and(written)
        })
    }

    /// The answer to one question.
    pub(crate) fn answer<Q: Question>(&mut self, question: &Q) -> Result<Q::Answer> {
        write(&mut self.input, question)?;
        self.input.flush()?;
        self.output.read::<Q>()
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<()> {
        let Self { mut process, input, output } = self;
        drop((input, output));
        let status = process.wait()?;
        if !status.success() {
            bail!("Knative's autoscaler ended with {status}");
        }
        Ok(())
    }
}

fn write<Q: Question>(input: &mut BufWriter<ChildStdin>, question: &Q) -> Result<()> {
    serde_json::to_writer(&mut *input, &serde_json::json!({ Q::NAME: question }))?;
    Ok(input.write_all(b"\n")?)
}

impl Output {
    fn read<Q: Question>(&mut self) -> Result<Q::Answer> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let mut said = Vec::new();
            let length = self.said.seek(SeekFrom::End(0))?;
            self.said.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
            self.said.read_to_end(&mut said)?;
            bail!("Knative's autoscaler has ended: {}", String::from_utf8_lossy(&said));
        }
        serde_json::from_str(&line).with_context(|| format!("an answer that is none: {line}"))
    }
}

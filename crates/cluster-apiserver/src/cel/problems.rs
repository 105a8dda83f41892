//! What is wrong with an expression, as CEL tells it.

/// So many mistakes are told.
const MAX_PROBLEMS: usize = 100;
/// A longer line is not shown beside its mistake.
const MAX_SHOWN: usize = 16_384;

/// A mistake in an expression, and where it is, counted in characters.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) at: u32,
    pub(super) text: String,
}

/// The mistakes in an expression: as many as are told, and how many there are.
#[derive(Default)]
pub(super) struct Problems {
    told: Vec<Problem>,
    count: usize,
}

impl Problems {
    pub(super) fn add(&mut self, at: u32, text: String) {
        self.count += 1;
        if self.told.len() < MAX_PROBLEMS {
            self.told.push(Problem { at, text });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All in the order of their places: `ERROR: <input>:LINE:COLUMN: TEXT`, the line, and a mark below.
    pub(super) fn report(mut self, source: &str) -> String {
        self.told.sort_by_key(|problem| problem.at);
        let mut lines: Vec<String> = self.told.iter().map(|problem| shown(source, problem)).collect();
        if self.count > self.told.len() {
            lines.push(format!("{} more errors were truncated", self.count - self.told.len()));
        }
        lines.join("\n")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { told: vec![problem], count: 1 }
    }
}

/// What is said of a text that is too long to be read.
pub(super) fn too_long(size: usize, limit: usize) -> String {
    format!("ERROR: <input>:-1:0: expression code point size exceeds limit: size: {size}, limit {limit}")
}

fn shown(source: &str, problem: &Problem) -> String {
    let at = usize::try_from(problem.at).unwrap_or(usize::MAX);
    let before: String = source.chars().take(at).collect();
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let head = format!("ERROR: <input>:{}:{}: {}", line + 1, column + 1, problem.text);
    let text = source.split('\n').nth(line).unwrap_or_default();
    if text.len() > MAX_SHOWN {
        return head;
    }
    format!("{head}\n | {}\n | {}^", text.replace('\t', " "), ".".repeat(column))
}

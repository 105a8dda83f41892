//! Where the tracing of Knative's parts goes beside the process's own log: the logs of their Pods.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_workloads::node::LogSink;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// The logs of the parts' Pods, by whose tracing goes there. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartLogs(Arc<Mutex<BTreeMap<&'static str, LogSink>>>);

impl PartLogs {
    /// What is to be told, as a `tracing` filter: what a person who looks for a trouble wants to read.
    pub(crate) const FILTER: &'static str = "knative_serving=info,base_controller=info,knative_proxy=info";

    /// From now on what comes from `targets` (crates or modules) goes to `log`.
    pub(super) fn set(&self, targets: &[&'static str], log: &LogSink) {
        self.logs().extend(targets.iter().map(|target| (*target, log.clone())));
    }

    fn of(&self, target: &str) -> Option<LogSink> {
        let logs = self.logs();
        let is_of =
            |whole: &str| target.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        logs.iter().find(|(whole, _)| is_of(whole)).map(|(_, log)| log.clone())
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, LogSink>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for PartLogs {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(None)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(self.of(meta.target()))
    }
}

/// Takes one event's text; what belongs to no part is let go.
pub(crate) struct Line(Option<LogSink>);

impl io::Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(log) = &self.0 {
            log.line(&String::from_utf8_lossy(text));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base_rt::Clock;

    use super::*;

    #[test]
    fn each_part_has_its_own() {
        let logs = PartLogs::default();
        for target in ["one", "two::inside"] {
            let log = LogSink::new(Clock::system());
            log.line(&format!("of {target}"));
            logs.set(&[target], &log);
        }
        let is_of = |target: &str, expected: &str| format!("{:?}", logs.of(target)).contains(expected);
        assert!(
            is_of("one", "of one") && is_of("one::deeper", "of one") && is_of("two::inside::deeper", "of two::inside")
        );
        assert!(logs.of("oneself").is_none() && logs.of("two").is_none());
    }
}

//! Running stages one after another: a failed stage stops only those that stand on it, and the end says how each went.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::sh;

/// One thing that is checked, or built for the checks.
pub(crate) struct Stage {
    /// What `--only` and the report call it.
    pub(crate) name: &'static str,
    /// Stages whose result this one uses.
    pub(crate) needs: &'static [&'static str],
    /// Does it; what is missing here counts as left out.
    pub(crate) run: fn(full: bool) -> Result<Outcome>,
}

/// How a stage ended that did not fail.
pub(crate) enum Outcome {
    /// It was checked, and it holds.
    Passed,
    /// It cannot be checked here, for this reason.
    LeftOut(String),
}

/// How one stage went, for the report.
pub(crate) struct Report {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    Passed,
    LeftOut(String),
    Failed(String),
}

/// The stages that `only` names and those they need, in order; all when it names none. An unknown name is an error.
pub(crate) fn select<'a>(stages: &'a [Stage], only: &[String]) -> Result<Vec<&'a Stage>> {
    if only.is_empty() {
        return Ok(stages.iter().collect());
    }
    let mut wanted: Vec<&str> = only.iter().map(String::as_str).collect();
    let mut at = 0;
    while let Some(name) = wanted.get(at) {
        let Some(stage) = stages.iter().find(|stage| stage.name == *name) else {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
            anyhow::bail!("there is no stage {name:?}; there are: {}", names.join(" "));
        };
        wanted.extend(stage.needs);
        at += 1;
    }
    Ok(stages.iter().filter(|stage| wanted.contains(&stage.name)).collect())
}

/// Runs the stages in order, until one is interrupted.
pub(crate) fn run(stages: &[&Stage], full: bool) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for stage in stages.iter().take_while(|_| !sh::is_interrupted()) {
        println!("── {} ", stage.name);
        let begun = Instant::now();
        let unmet =
            stage.needs.iter().find(|name| reports.iter().any(|report| report.name == **name && !report.is_good()));
        let verdict = match unmet {
            Some(name) => Verdict::Failed(format!("not run, because {name} did not pass")),
            None => verdict((stage.run)(full)),
        };
        let report = Report { name: stage.name, took: begun.elapsed(), verdict };
        println!("{}", report.line());
        reports.push(report);
    }
    reports
}

fn verdict(outcome: Result<Outcome>) -> Verdict {
    match outcome {
        Ok(Outcome::Passed) => Verdict::Passed,
        Ok(Outcome::LeftOut(reason)) => Verdict::LeftOut(reason),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    }
}

/// Prints every stage's line again and the sum; whether nothing failed.
pub(crate) fn summarise(reports: &[Report]) -> bool {
    println!("\n── summary ");
    for report in reports {
        println!("{}", report.line());
    }
    let count = |wanted: fn(&Verdict) -> bool| reports.iter().filter(|report| wanted(&report.verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let left_out = count(|verdict| matches!(verdict, Verdict::LeftOut(_)));
    let minutes = reports.iter().map(|report| report.took.as_secs_f64()).sum::<f64>() / 60.0;
    println!("{minutes:.1} minutes, {left_out} left out");
    println!("{} passed, {failed} failed", count(|verdict| matches!(verdict, Verdict::Passed)));
    failed == 0
}

impl Report {
    /// Whether stages that need this one can run.
    fn is_good(&self) -> bool {
        matches!(self.verdict, Verdict::Passed | Verdict::LeftOut(_))
    }

    fn line(&self) -> String {
        let (word, detail) = match &self.verdict {
            Verdict::Passed => ("passed", ""),
            Verdict::LeftOut(reason) => ("left out", reason.as_str()),
            Verdict::Failed(reason) => ("FAILED", reason.as_str()),
        };
        let minutes = self.took.as_secs_f64() / 60.0;
        format!("{:<10} {word:<9} {minutes:>5.1} min  {detail}", self.name).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 4] = [
        Stage { name: "build", needs: &[], run: |_| anyhow::bail!("it does not compile") },
        Stage { name: "use", needs: &["build"], run: |_| Ok(Outcome::Passed) },
        Stage { name: "style", needs: &[], run: |_| Ok(Outcome::Passed) },
        Stage { name: "far", needs: &[], run: |_| Ok(Outcome::LeftOut("no network".into())) },
    ];

    fn lines(only: &[&str]) -> Vec<String> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        run(&select(&STAGES, &only).unwrap(), false).iter().map(Report::line).collect()
    }

    #[test]
    fn a_failure_stops_only_what_stands_on_it() {
        let lines = lines(&[]);
        assert!(lines[0].starts_with("build      FAILED"), "{lines:?}");
        assert!(lines[1].contains("not run, because build did not pass"), "{lines:?}");
        assert!(lines[2].starts_with("style      passed"), "{lines:?}");
        assert!(lines[3].contains("left out") && lines[3].ends_with("no network"), "{lines:?}");
    }

    #[test]
    fn only_takes_what_it_needs_along() {
        assert_eq!(lines(&["use"]).len(), 2);
        assert!(select(&STAGES, &["nothing".to_owned()]).is_err());
    }

    #[test]
    fn the_sum_fails_with_any_stage() {
        let all: Vec<&Stage> = STAGES.iter().collect();
        assert!(!summarise(&run(&all, false)));
        assert!(summarise(&run(&all[2..], false)));
    }
}

//! The recorded requests of ../shared/golden against `kwick up --only api`: how many status codes agree.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::instance::{Instance, ensure};
use crate::place::{self, Place};

/// So many of the recorded cases must agree in their status code.
const AT_LEAST: u32 = 280;

/// Where.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

/// Runs the requests and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let golden = place.workspace("../shared/golden");
    let kwick = Instance::start_with(place, "golden", &["--only", "api"])?;
    let actual = place.scratch("actual.jsonl");
    let mut requests = Command::new("python3");
    requests.arg(golden.join("golden.py")).arg(kwick.api.url()).arg(&actual).arg(kwick.api.token());
    let said = place::output(&mut requests)?;
    println!("{} answers were recorded", said.lines().count());
    let mut compare = Command::new("python3");
    compare
        .arg(golden.join("golden_diff.py"))
        .arg(golden.join("kube-apiserver-1.37.jsonl"))
        .arg(&actual)
        .arg("--status");
    // It fails when any case differs; what counts here is how many agree.
    let compared = place::outcome(&mut compare)?;
    let text = String::from_utf8_lossy(&compared.stdout).into_owned();
    println!("{}", text.trim());
    let agreeing = agreeing(text.lines().last().unwrap_or_default())?;
    kwick.down()?;
    ensure(agreeing >= AT_LEAST, || format!("{agreeing} status codes agree, at least {AT_LEAST} must"))
}

/// The N of a line "N of M agree, …".
fn agreeing(line: &str) -> Result<u32> {
    let number = line.split(" of ").next().and_then(|number| number.trim().parse().ok());
    number.with_context(|| format!("golden_diff.py ended with {line:?}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_read() {
        assert_eq!(super::agreeing("243 of 283 agree, 0 known, 40 differ").unwrap(), 243);
        assert!(super::agreeing("Traceback").is_err());
    }
}

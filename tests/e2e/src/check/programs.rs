//! Programs as people write them with the usual client libraries. Each goes through its list of what should work, ends at the first thing
//! that does not, and prints a line for each that does.

use std::process::Command;

use anyhow::Result;

use super::{LeftOut, sessions, twice};
use crate::instance::Instance;
use crate::place::{self, Place};

/// tools/client-go.
pub(super) fn client_go(place: &Place) -> Result<String> {
    run(place, |kwick| kwick.client("client-go").ok_or(LeftOut("tools/client-go was not built")))
}

/// tools/kube-rs.
pub(super) fn kube_rs(place: &Place) -> Result<String> {
    run(place, |kwick| kwick.client("kube-rs").ok_or(LeftOut("tools/kube-rs was not built")))
}

/// tools/python, by the Python that has the client library.
pub(super) fn python(place: &Place) -> Result<String> {
    run(place, |kwick| {
        let mut python = kwick.client("python/bin/python").ok_or(LeftOut("there is no Python client library"))?;
        python.arg(kwick.workspace("tools/python/client.py"));
        Ok(python)
    })
}

/// Runs a program on a cluster of its own; its argument is the image of a shell.
fn run(place: &Place, program: impl Fn(&Instance<'_>) -> Result<Command, LeftOut>) -> Result<String> {
    twice(|| {
        let kwick = Instance::start_with(place, "program", &["--only", "cluster"])?;
        let mut program = program(&kwick)?;
        sessions::pack_shell(&kwick)?;
        let said = place::output(program.arg("shell"))?;
        kwick.down()?;
        Ok(said.trim().replace('\n', "; "))
    })
}

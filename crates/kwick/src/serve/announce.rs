//! What a person is told once everything is ready.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};

use super::Options;
use crate::cli::{from_here, say};
use crate::instance::record::Record;
use kwick::assembly::Level;

/// The last words to whoever waits for a detached start.
pub(crate) const READY: &str = "\nready\n";

/// Says where everything is, and what this machine does not offer; closes standard output when detached.
pub(super) fn ready(options: &Options, record: &Record, notices: &[String]) -> Result<()> {
    say(summary(options, record))?;
    for notice in notices {
        say(format_args!("note: {notice}"))?;
    }
    if options.is_detached {
        say(READY.trim_end())?;
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").context("cannot open /dev/null")?;
        nix::unistd::dup2_stdout(null.as_fd()).context("cannot close standard output")?;
    }
    Ok(())
}

fn summary(options: &Options, record: &Record) -> String {
    let address =
        |address: Option<std::net::SocketAddr>| address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let kubeconfig = options.dir.join("kubeconfig");
    let option = options.dir.option();
    let mut lines = vec![
        "Kwick is ready.".to_owned(),
        format!("  kubeconfig  {}", kubeconfig.display()),
        format!("  api         https://{}", address(record.api)),
    ];
    if options.level >= Level::Cluster {
        lines.push(format!("  registry    {}", address(record.registry)));
    }
    if options.level == Level::All {
        let gateway = address(record.gateway);
        lines.push(format!("  gateway     http://{gateway}, https://{}", address(record.gateway_tls)));
        lines.push(String::new());
        lines.push("Next:".to_owned());
        lines.push(format!("  eval \"$(kwick env{option})\""));
        lines.push(format!("  kwick image import FILE --name hello{option} && kn service create hello --image hello"));
        lines.push(format!("  curl http://hello.default.localhost{}", port_of(record)));
        lines.push(format!(
            "  curl -H 'Host: hello.default.localhost' http://{}    (where names under localhost do not resolve)",
            address(record.gateway.map(from_here))
        ));
    } else {
        lines.push(format!("Next:  eval \"$(kwick env{option})\" && kubectl get namespaces"));
    }
    lines.join("\n")
}

/// The port as URLs show it: not at all when it is the scheme's own.
fn port_of(record: &Record) -> String {
    match record.gateway.map(|gateway| gateway.port()) {
        None | Some(80) => String::new(),
        Some(port) => format!(":{port}"),
    }
}

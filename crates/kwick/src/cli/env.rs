//! `kwick env`: the export that makes every client of Kubernetes use this instance.

use anyhow::Result;
use clap::Args;

use super::{Instance, say};
use crate::exit::Refused;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eval \"$(kwick env)\" && kubectl get ksvc")]
pub(super) struct Env {
    #[command(flatten)]
    instance: Instance,
}

impl Env {
    pub(super) fn run(&self) -> Result<()> {
        let dir = self.instance.dir()?;
        let path = dir.join("kubeconfig");
        if !path.exists() {
            return Err(Refused::error(
                format!("there is no {}", path.display()),
                format!("start an instance with `sudo kwick up --detach{}`, or name its --data-dir", dir.option()),
            ));
        }
        say(format!("export KUBECONFIG={}", quoted(&path.display().to_string())))
    }
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        assert_eq!(quoted("/var/lib/kwick/kubeconfig"), "/var/lib/kwick/kubeconfig");
        assert_eq!(quoted("/my dir/it's"), r"'/my dir/it'\''s'");
    }
}

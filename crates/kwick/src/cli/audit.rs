//! The flags of the audit log, by kube-apiserver's names: checked and prepared by root, used by the unprivileged process.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use cluster_apiserver::audit::{AuditConfig, Policy};

use crate::exit::Refused;
use crate::instance::data_dir::{DataDir, write_durably};

/// Where root puts the policy for the unprivileged process, which may not be able to read the one that was named.
const POLICY: &str = "audit-policy.yaml";

/// What is recorded of requests, and where.
#[derive(Args, Clone, Debug)]
pub(super) struct Audit {
    /// Record who asks the Kubernetes API for what in this file, one JSON event a line. Its folder must belong to Kwick's unprivileged user;
    /// one that is absent is made so.
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// What to record: an audit.k8s.io/v1 Policy. Without it the metadata of every request, and no bodies, in which secrets could stand.
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    audit_policy_file: Option<PathBuf>,
    /// At so many megabytes the file is put aside, with the time in its name.
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1 << 20), requires = "audit_log_path")]
    audit_log_maxsize: u64,
    /// How many files that were put aside are kept; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 10, requires = "audit_log_path")]
    audit_log_maxbackup: usize,
    /// How many days files that were put aside are kept; 0 for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0, requires = "audit_log_path")]
    audit_log_maxage: u32,
}

impl Audit {
    /// Refuses what the process of `uid` could not do. Changes nothing.
    pub(super) fn check(&self, uid: u32) -> Result<()> {
        let Some(path) = self.path()? else { return Ok(()) };
        self.policy()?;
        let folder = folder(&path);
        let is_writable = |folder: &fs::Metadata| {
            folder.is_dir() && (folder.uid() == uid && folder.mode() & 0o300 == 0o300 || folder.mode() & 0o003 == 0o003)
        };
        match fs::metadata(folder) {
            Ok(found) if !is_writable(&found) => Err(Refused::error(
                format!("Kwick's unprivileged process (uid {uid}) cannot write to {}", folder.display()),
                format!("name a file in a folder that is absent, such as {}/kwick-audit/audit.log", folder.display()),
            )),
            _ => Ok(()),
        }
    }

    /// As root: makes the folder, and puts the policy where the unprivileged process finds it; the arguments for that process.
    pub(super) fn prepare(&self, dir: &DataDir, uid: u32) -> Result<Vec<OsString>> {
        let Some(path) = self.path()? else { return Ok(Vec::new()) };
        let folder = folder(&path);
        if !folder.exists() {
            let context = || format!("cannot make {}", folder.display());
            DirBuilder::new().mode(0o700).create(folder).with_context(context)?;
            std::os::unix::fs::lchown(folder, Some(uid), Some(uid)).with_context(context)?;
        }
        let mut arguments = vec![OsString::from("--audit-log-path"), path.into()];
        if self.audit_policy_file.is_some() {
            let copy = dir.join(POLICY);
            write_durably(&copy, &self.policy_text()?, 0o644)?;
            arguments.extend([OsString::from("--audit-policy-file"), copy.into()]);
        }
        for (name, value) in [
            ("--audit-log-maxsize", self.audit_log_maxsize.to_string()),
            ("--audit-log-maxbackup", self.audit_log_maxbackup.to_string()),
            ("--audit-log-maxage", self.audit_log_maxage.to_string()),
        ] {
            arguments.extend([OsString::from(name), value.into()]);
        }
        Ok(arguments)
    }

    /// What the API server is told; nothing if nothing is recorded.
    pub(super) fn config(&self) -> Result<Option<AuditConfig>> {
        let Some(path) = self.path()? else { return Ok(None) };
        Ok(Some(AuditConfig {
            policy: self.policy()?,
            path,
            max_size_mb: self.audit_log_maxsize,
            max_backups: self.audit_log_maxbackup,
            max_age_days: self.audit_log_maxage,
        }))
    }

    fn path(&self) -> Result<Option<PathBuf>> {
        let path = self.audit_log_path.as_deref().map(std::path::absolute);
        path.transpose().context("cannot tell where the audit log is")
    }

    fn policy(&self) -> Result<Policy> {
        let Some(path) = &self.audit_policy_file else { return Ok(Policy::metadata()) };
        Policy::parse(&self.policy_text()?).map_err(|error| {
            let what = format!("{} is no audit policy: {error}", path.display());
            Refused::error(what, "see https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#audit-policy")
        })
    }

    fn policy_text(&self) -> Result<Vec<u8>> {
        let Some(path) = &self.audit_policy_file else { return Ok(Vec::new()) };
        fs::read(path).map_err(|error| {
            let what = format!("the audit policy {} cannot be read: {error}", path.display());
            Refused::error(what, "name a file with --audit-policy-file, or leave it out")
        })
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        audit: Audit,
    }

    const UID: u32 = 54_321;

    fn audit(arguments: &[&str]) -> Audit {
        Command::try_parse_from([&["kwick"], arguments].concat()).unwrap().audit
    }

    #[test]
    fn what_is_prepared_is_what_the_unprivileged_process_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        let (log, policy) = (dir.join("audit/audit.log"), dir.join("policy"));
        fs::write(&policy, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request}]}").unwrap();
        let (log_text, policy_text) = (log.display().to_string(), policy.display().to_string());
        let given = ["--audit-log-path", &log_text, "--audit-policy-file", &policy_text, "--audit-log-maxage", "3"];
        let given = audit(&given);
        given.check(UID).unwrap();
        assert!(!log.parent().unwrap().exists(), "a check makes nothing");
        let arguments = given.prepare(&dir, UID).unwrap();
        given.check(UID).unwrap();
        fs::remove_file(&policy).unwrap();
        let arguments: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
        let config = audit(&arguments).config().unwrap().expect("a configuration");
        assert_eq!(config.path, log);
        assert_eq!((config.max_size_mb, config.max_backups, config.max_age_days), (100, 10, 3));
        assert_eq!(fs::metadata(log.parent().unwrap()).unwrap().uid(), UID);
    }

    #[test]
    fn nothing_is_recorded_unless_asked_and_mistakes_are_refused_before() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        assert!(audit(&[]).config().unwrap().is_none());
        assert!(audit(&[]).prepare(&dir, UID).unwrap().is_empty());
        assert!(Command::try_parse_from(["kwick", "--audit-log-maxsize", "1"]).is_err());
        let log = dir.join("audit.log").display().to_string();
        let refusal = |arguments: &[&str]| {
            let error = audit(arguments).check(UID).unwrap_err();
            assert!(error.is::<Refused>(), "{error:#}");
            error.to_string()
        };
        assert!(refusal(&["--audit-log-path", &log]).contains("cannot write to"));
        let log = dir.join("new/audit.log").display().to_string();
        let policy = dir.join("policy").display().to_string();
        let given = ["--audit-log-path", &log, "--audit-policy-file", &policy];
        assert!(refusal(&given).contains("cannot be read"));
        fs::write(&policy, "{apiVersion: audit.k8s.io/v1, kind: Policy}").unwrap();
        assert!(refusal(&given).contains("0 rules"));
    }
}

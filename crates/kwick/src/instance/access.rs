//! The instance's own certificate authority, the administrator's token, the key of ServiceAccount tokens: made once, in `DIR/pki`.
//!
//! Root makes them, for the kubeconfig, and the instance's uid only reads them. The folder is root's, so that a Kwick that somebody has
//! taken over cannot lead the root of the next start anywhere by a link.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base_rt::Clock;
use cluster_apiserver::pki::{Authority, Credentials, write_secret};
use cluster_apiserver::{Entropy, Identity, ServiceAccountKey};

use super::data_dir::DataDir;
use super::kubeconfig::Access;
use super::record::Record;
use crate::exit::Refused;

/// Who the kubeconfig's user is. The group may do everything, by definition.
const ADMINISTRATOR: &str = "kwick-admin";

/// The folder: the instance's group may look into it.
const FOLDER_MODE: u32 = 0o750;
/// A file in it.
const FILE_MODE: u32 = 0o640;

/// As root: makes what is missing and lets the instance's uid read it.
pub(crate) fn prepare(dir: &DataDir, record: &Record) -> Result<Access> {
    let api = record.api.context("the instance has no API address")?;
    let folder = dir.join("pki");
    // Before anything in it is used, and again for what is new.
    share(&folder, record.uid)?;
    let authority = authority(dir)?;
    let token = secret(dir, "admin.token", || Ok(random_token()))?;
    secret(dir, "service-account.key", || Ok(ServiceAccountKey::generate_pem()?))?;
    share(&folder, record.uid)?;
    Ok(Access { api, ca_pem: authority.certificate_pem().to_owned(), token })
}

/// Makes the folder, if it is not there, and everything in it root's own and readable by `group`.
fn share(folder: &Path, group: u32) -> Result<()> {
    let context = || format!("cannot prepare {}", folder.display());
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).with_context(context),
        _ => {}
    }
    // In the data directory, which is root's: nobody can put a link in its place.
    lchown(folder, Some(0), Some(group)).with_context(context)?;
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).with_context(context)?;
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let Some(file) = plain_file(&path).with_context(context)? else {
            return Err(Refused::error(
                format!("{} is not a file of its own, but a link or something else", path.display()),
                "find out who put it there, and remove it",
            ));
        };
        fchown(&file, Some(0), Some(group)).with_context(context)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE)).with_context(context)?;
    }
    Ok(())
}

/// Opens a file that has no other name and is no link; nothing if it is something else.
fn plain_file(path: &Path) -> std::io::Result<Option<File>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok((metadata.is_file() && metadata.nlink() == 1).then_some(file))
}

/// The authority of this instance.
pub(crate) fn authority(dir: &DataDir) -> Result<Authority> {
    Authority::load_or_generate(&dir.join("pki"), Clock::system().now())
        .context("cannot prepare the certificate authority")
}

/// A serving certificate for host names and addresses, for as long as this process lives.
pub(crate) fn server_certificate(authority: &Authority, names: &[String]) -> Result<Credentials> {
    authority.server(names, Clock::system().now()).context("cannot make the API server's certificate")
}

/// The administrator's token and who it stands for.
pub(crate) fn administrator(dir: &DataDir) -> Result<(String, Identity)> {
    Ok((read(&path(dir, "admin.token"))?, Identity::master(ADMINISTRATOR)))
}

/// What signs ServiceAccount tokens.
pub(crate) fn service_account_key(dir: &DataDir) -> Result<ServiceAccountKey> {
    ServiceAccountKey::from_pem(&read(&path(dir, "service-account.key"))?).context("cannot use the ServiceAccount key")
}

fn path(dir: &DataDir, name: &str) -> PathBuf {
    dir.join("pki").join(name)
}

fn read(path: &PathBuf) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The secret kept under `name`; made by `make` when there is none.
fn secret(dir: &DataDir, name: &str, make: impl FnOnce() -> Result<String>) -> Result<String> {
    let path = path(dir, name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = make()?;
            write_secret(&path, &text)?;
            Ok(text)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// 256 random bits.
fn random_token() -> String {
    use base64::Engine as _;
    let entropy = Entropy::from_os();
    let bytes: Vec<u8> = (0..4).flat_map(|_| entropy.number().to_le_bytes()).collect();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const UID: u32 = 54_321;

    fn record() -> Record {
        let mut record = Record::new(&Entropy::seeded(1));
        record.uid = UID;
        record.api = Some("127.0.0.1:6443".parse().unwrap());
        record
    }

    #[test]
    fn what_the_uid_has_planted_leads_root_nowhere() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(&folder.path().join("data")).unwrap();
        let pki = dir.join("pki");
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        for (name, is_link) in [("admin.new", true), ("ca.key", true), ("admin.token", false)] {
            fs::create_dir_all(&pki).unwrap();
            lchown(&pki, Some(UID), Some(UID)).unwrap();
            let plant = if is_link { symlink::<&Path, &Path> } else { fs::hard_link::<&Path, &Path> };
            plant(&target, &pki.join(name)).unwrap();
            let refused = prepare(&dir, &record()).unwrap_err();
            assert!(refused.to_string().contains("not a file of its own"), "{refused:#}");
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
            let metadata = fs::metadata(&target).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
            fs::remove_dir_all(&pki).unwrap();
        }
    }

    #[test]
    fn keys_are_roots_and_the_uid_reads_them() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        let first = prepare(&dir, &record()).unwrap();
        let facts = |path: PathBuf| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.mode() & 0o777, metadata.uid(), metadata.gid())
        };
        assert_eq!(facts(dir.join("pki")), (0o750, 0, UID));
        for entry in fs::read_dir(dir.join("pki")).unwrap() {
            assert_eq!(facts(entry.unwrap().path()), (0o640, 0, UID));
        }
        let again = prepare(&dir, &record()).unwrap();
        assert_eq!((first.token, first.ca_pem), (again.token, again.ca_pem));
    }
}

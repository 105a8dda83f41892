//! The instance's own certificate authority, the administrator's token, the key of ServiceAccount tokens: made once, in `DIR/pki`.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base_rt::Clock;
use cluster_apiserver::pki::{Authority, Credentials, write_secret};
use cluster_apiserver::{Entropy, Identity, ServiceAccountKey};

use super::data_dir::{DataDir, chown};
use super::kubeconfig::Access;
use super::record::Record;

/// Who the kubeconfig's user is. The group may do everything, by definition.
const ADMINISTRATOR: &str = "kwick-admin";

/// As root: makes what is missing and gives it to the instance's uid.
pub(crate) fn prepare(dir: &DataDir, record: &Record) -> Result<Access> {
    let api = record.api.context("the instance has no API address")?;
    let authority = authority(dir)?;
    let token = secret(dir, "admin.token", || Ok(random_token()))?;
    secret(dir, "service-account.key", || Ok(ServiceAccountKey::generate_pem()?))?;
    for entry in fs::read_dir(dir.join("pki")).context("cannot list the instance's keys")? {
        chown(&entry.context("cannot list the instance's keys")?.path(), record.uid)?;
    }
    Ok(Access { api, ca_pem: authority.certificate_pem().to_owned(), token })
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

//! What an instance chose once and keeps: its id, its uid, its addresses, its network ranges.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use cluster_apiserver::Entropy;
use cluster_sandbox::spec::{InstanceId, Ranges};
use cluster_sandbox::{NetworkConfig, Owner, SpawnerConfig};
use serde::{Deserialize, Serialize};

use super::data_dir::{DataDir, write_durably};
use crate::exit::Refused;

/// Uids of instances start here: above what distributions, images and user-namespace ranges use.
const FIRST_UID: u32 = 1_879_048_192;
/// How many uids instances are spread over.
const UIDS: u64 = 1 << 20;
/// Short, because a socket's path is limited.
const RUN_DIR: &str = "/run/kwick";

/// The choices of one instance, kept in `DIR/instance.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Eight hexadecimal digits; names of links, cgroups and sockets derive from it.
    pub(crate) id: String,
    /// The uid (and gid) of the unprivileged process.
    pub(crate) uid: u32,
    /// Where the API server listens on the host.
    pub(crate) api: Option<SocketAddr>,
    /// Where the registry listens on the host.
    pub(crate) registry: Option<SocketAddr>,
    /// Where the gateway listens on the host.
    pub(crate) gateway: Option<SocketAddr>,
    /// Where the gateway listens on the host for those who speak TLS.
    #[serde(default)]
    pub(crate) gateway_tls: Option<SocketAddr>,
    /// The ranges of the instance's network, as the spawner settled them.
    pub(crate) network: Option<Ranges>,
    /// Registries (host and optional port) that may be spoken to without TLS, besides those at loopback and private addresses.
    #[serde(default)]
    pub(crate) plain_http_registries: BTreeSet<String>,
    /// The class of the Certificates that are issued here, if it is not Knative's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_class: Option<String>,
    /// The Secret of the authority that signs them, as `NAMESPACE/NAME`, if it is not that of Kwick's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authority_secret: Option<String>,
    /// The version of the Kwick that has saved the record last; empty if that one did not say. For people: what can be read, the layout says.
    #[serde(default)]
    written_by: String,
}

impl Record {
    /// The record of `dir`; a new one, not yet saved, when there is none.
    pub(crate) fn load(dir: &DataDir) -> Result<Option<Self>> {
        let path = dir.join("instance.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Refused::error(
                format!("{} is damaged: {error}", path.display()),
                "restore it from a copy, or use another --data-dir; the objects under state/ are untouched",
            )
        })
    }

    /// Which version of Kwick has written the directory last, if that can be read whatever its layout is.
    pub(crate) fn writer(dir: &DataDir) -> Option<String> {
        let text = std::fs::read(dir.join("instance.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
        record.get("writtenBy")?.as_str().map(str::to_owned)
    }

    /// A record for a new instance: a random id and uid.
    pub(crate) fn new(entropy: &Entropy) -> Self {
        Self {
            id: format!("{:08x}", entropy.below(1 << 32)),
            uid: FIRST_UID + u32::try_from(entropy.below(UIDS)).unwrap_or_default(),
            api: None,
            registry: None,
            gateway: None,
            gateway_tls: None,
            network: None,
            plain_http_registries: BTreeSet::new(),
            certificate_class: None,
            authority_secret: None,
            written_by: String::new(),
        }
    }

    /// How the spawner of this instance is started and found.
    pub(crate) fn spawner_config(&self, dir: &DataDir) -> Result<SpawnerConfig> {
        let instance = InstanceId::try_new(self.id.clone()).context("the instance's id is no name")?;
        let run_dir = Path::new(RUN_DIR).join(&self.id);
        let mut config = SpawnerConfig::new(instance, run_dir, dir.path(), Owner { uid: self.uid, gid: self.uid });
        config.blobs_dir = dir.join("images").join("blobs");
        config.lock_file = Some(dir.join("lock"));
        config.network = Some(NetworkConfig { previous: self.network, has_egress: true });
        Ok(config)
    }

    /// Saves the record, as written by this version, so that a crash leaves the old or the new one.
    pub(crate) fn save(&mut self, dir: &DataDir) -> Result<()> {
        env!("CARGO_PKG_VERSION").clone_into(&mut self.written_by);
        let text = serde_json::to_vec_pretty(self).context("cannot form the instance record")?;
        write_durably(&dir.join("instance.json"), &text, 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_and_a_damaged_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        assert_eq!(Record::load(&dir).unwrap(), None);
        let mut record = Record::new(&Entropy::seeded(7));
        record.save(&dir).unwrap();
        assert_eq!(Record::writer(&dir).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(Record::load(&dir).unwrap(), Some(record));
        std::fs::write(dir.join("instance.json"), "{").unwrap();
        assert!(Record::load(&dir).unwrap_err().to_string().contains("damaged"));
    }
}

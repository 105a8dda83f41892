//! The kubeconfig that `kwick up` writes: one cluster, one user with a bearer token, readable by the invoking user alone.

use std::net::SocketAddr;
use std::os::unix::fs::chown;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::data_dir::{DataDir, write_durably};

/// What a client needs to reach the instance as its administrator.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Where the API server listens on the host.
    pub(crate) api: SocketAddr,
    /// The certificate authority, PEM.
    pub(crate) ca_pem: String,
    /// The administrator's bearer token.
    pub(crate) token: String,
}

/// Writes `DIR/kubeconfig` for `owner` (uid, gid).
pub(crate) fn write(dir: &DataDir, access: &Access, owner: (u32, u32)) -> Result<()> {
    let path = dir.join("kubeconfig");
    let text = serde_json::to_string_pretty(&document(access)).context("cannot form the kubeconfig")?;
    // JSON is YAML; kubectl and every client library read it.
    write_durably(&path, text.as_bytes(), 0o600)?;
    chown(&path, Some(owner.0), Some(owner.1))
        .with_context(|| format!("cannot give {} to uid {}", path.display(), owner.0))
}

fn document(access: &Access) -> Value {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(&access.ca_pem);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kwick", "cluster": {
            "server": format!("https://{}", access.api),
            "certificate-authority-data": ca,
        }}],
        "users": [{"name": "kwick-admin", "user": {"token": access.token}}],
        "contexts": [{"name": "kwick", "context": {"cluster": "kwick", "user": "kwick-admin", "namespace": "default"}}],
        "current-context": "kwick",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        let access =
            Access { api: "127.0.0.1:6443".parse().unwrap(), ca_pem: "pem".to_owned(), token: "secret".to_owned() };
        let me = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        write(&dir, &access, me).unwrap();
        let config = kube::config::Kubeconfig::read_from(dir.join("kubeconfig")).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("kwick"));
        let server = config.clusters.first().and_then(|cluster| cluster.cluster.clone()?.server);
        assert_eq!(server.as_deref(), Some("https://127.0.0.1:6443"));
    }
}

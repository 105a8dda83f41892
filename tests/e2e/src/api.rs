//! The Kubernetes API of a running instance, as raw requests: status codes and JSON.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Answer, Request, Target};

/// Speaks to one API server as the kubeconfig's user.
#[derive(Clone)]
pub(crate) struct Api {
    target: Target,
    bearer: String,
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
struct User {
    token: String,
}

impl Api {
    /// Reads the kubeconfig that `kwick up` wrote.
    pub(crate) fn load(kubeconfig: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let config: Kubeconfig = serde_saphyr::from_str(&text).context("the kubeconfig is not as expected")?;
        let cluster = &config.clusters.first().context("a kubeconfig without a cluster")?.cluster;
        let user = &config.users.first().context("a kubeconfig without a user")?.user;
        let address = cluster.server.strip_prefix("https://").context("the API server's address is not https://")?;
        let address = address.trim_end_matches('/').parse().context("the API server's address is not IP:PORT")?;
        let authority = STANDARD.decode(&cluster.certificate_authority_data).context("the CA is not base64")?;
        let tls = Some(Arc::new(trusting(&authority)?));
        let target = Target { tls, ..Target::plain(address) };
        Ok(Self { target, bearer: format!("Bearer {}", user.token) })
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.target.address)
    }

    /// Where the server is, and who vouches for it.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The user's token.
    pub(crate) fn token(&self) -> &str {
        self.bearer.trim_start_matches("Bearer ")
    }

    /// One request; status and JSON (null where the answer is none). `content` is the body's media type.
    pub(crate) fn send(&self, method: &str, path: &str, content: &str, body: &[u8]) -> Result<(u16, Value)> {
        let answer = self.open(method, path, content, body)?;
        let status = answer.status;
        let (body, _) = answer.read()?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// One request whose answer is read as it comes.
    pub(crate) fn open(&self, method: &str, path: &str, content: &str, body: &[u8]) -> Result<Answer> {
        let host = self.target.address.to_string();
        let headers = [
            ("Host", host.as_str()),
            ("Accept", "application/json, */*"),
            ("Content-Type", content),
            ("Authorization", &self.bearer),
            ("User-Agent", "kwick-e2e"),
        ];
        self.target.connect()?.send(&Request { method, path, headers: &headers, body })
    }

    /// Reads an object or a list; nothing when it is not there.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.send("GET", path, "application/json", b"")? {
            (200, value) => Ok(Some(value)),
            (404, _) => Ok(None),
            (status, value) => bail!("GET {path}: {status} {}", message(&value)),
        }
    }

    /// Reads the items of a list.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list = self.get(path)?.with_context(|| format!("GET {path}: 404"))?;
        Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Makes an object in the collection at `path`.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.expect("POST", path, "application/json", object)
    }

    /// Merges a patch into the object at `path`.
    pub(crate) fn merge(&self, path: &str, patch: &Value) -> Result<Value> {
        self.expect("PATCH", path, "application/merge-patch+json", patch)
    }

    /// Deletes the object at `path`; it may be gone already.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        match self.send("DELETE", path, "application/json", b"")? {
            (200 | 202 | 404, _) => Ok(()),
            (status, value) => bail!("DELETE {path}: {status} {}", message(&value)),
        }
    }

    fn expect(&self, method: &str, path: &str, content: &str, body: &Value) -> Result<Value> {
        let (status, value) = self.send(method, path, content, body.to_string().as_bytes())?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {}", message(&value));
        }
        Ok(value)
    }
}

/// The message of a Status, else the whole value.
fn message(value: &Value) -> String {
    value.get("message").and_then(Value::as_str).map_or_else(|| value.to_string(), str::to_owned)
}

/// A client's configuration that trusts an authority, given as PEM.
pub(crate) fn trusting(authority: &[u8]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate.context("the CA is not PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The string at a JSON pointer, empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

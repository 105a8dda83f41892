//! The image configuration: what runs in a container of an image unless somebody says otherwise.
//!
//! The document has Docker's spelling (`Env`, `Entrypoint`) inside OCI's frame; both are read. Fields that only a builder needs
//! (`history`, health checks, `OnBuild`) are left alone: a configuration is never written back from these types but by `assemble`.
//! Specified by: OCI image-spec `config.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::{MAX_LAYERS, null_is_default};
use crate::platform::Platform;

/// The largest image configuration.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// An image configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// What the image runs on.
    pub platform: Platform,
    /// The command's first words; arguments do not replace them.
    pub entrypoint: Vec<String>,
    /// The command's further words; arguments replace them.
    pub cmd: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Absolute path; empty is `/`.
    pub working_dir: String,
    /// `8080/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Paths that the image declares as volumes.
    pub volumes: BTreeSet<String>,
    /// Free texts.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the process to end (`SIGTERM`), when not the default one.
    pub stop_signal: Option<String>,
    /// RFC 3339; as the builder wrote it.
    pub created: Option<String>,
    /// The digests of the layers' uncompressed archives, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Bytes that are no image configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More than [`MAX_CONFIG_BYTES`].
    #[error("an image configuration has at most {MAX_CONFIG_BYTES} bytes, this one has {length}")]
    TooLarge {
        /// Its length in bytes.
        length: u64,
    },
    /// Not JSON, or not of a configuration's shape.
    #[error("the image configuration is not valid")]
    Parse(#[source] serde_json::Error),
    /// More than [`MAX_LAYERS`].
    #[error("the image configuration lists {count} layers, at most {MAX_LAYERS} are supported")]
    TooManyLayers {
        /// How many there are.
        count: usize,
    },
    /// Not writable as JSON.
    #[error("write the image configuration")]
    Write(#[source] serde_json::Error),
}

/// The document.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(flatten)]
    platform: Platform,
    #[serde(default, deserialize_with = "null_is_default")]
    config: WireConfig,
    #[serde(default, deserialize_with = "null_is_default")]
    rootfs: WireRootfs,
}

/// What docker calls the container configuration. `BTreeMap<_, Empty>` is Go's `map[string]struct{}`.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireConfig {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireRootfs {
    #[serde(rename = "type", default = "layers")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<Digest>,
}

/// Go's `struct{}`; whatever stands there is not looked at.
#[derive(Default)]
struct Empty;

impl Serialize for Empty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Default for WireRootfs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

fn layers() -> String {
    "layers".into()
}

/// A list of words, or one word, as very old builders wrote it.
fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(deserializer)? {
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
        None => Vec::new(),
    })
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`]: too large, or malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let length = bytes.len() as u64;
        if length > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge { length });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(ConfigError::Parse)?;
        let count = wire.rootfs.diff_ids.len();
        if count > MAX_LAYERS {
            return Err(ConfigError::TooManyLayers { count });
        }
        Ok(Self {
            platform: wire.platform,
            entrypoint: wire.config.entrypoint,
            cmd: wire.config.cmd,
            env: wire.config.env,
            user: wire.config.user,
            working_dir: wire.config.working_dir,
            exposed_ports: wire.config.exposed_ports.into_keys().collect(),
            volumes: wire.config.volumes.into_keys().collect(),
            labels: wire.config.labels,
            stop_signal: wire.config.stop_signal.filter(|signal| !signal.is_empty()),
            created: wire.created,
            diff_ids: wire.rootfs.diff_ids,
        })
    }

    /// Writes the configuration as a document; the same configuration always gives the same bytes.
    ///
    /// # Errors
    /// [`ConfigError::Write`], which no configuration of text can cause.
    pub fn to_json(&self) -> Result<Vec<u8>, ConfigError> {
        let empty = |keys: &BTreeSet<String>| keys.iter().map(|key| (key.clone(), Empty)).collect();
        let wire = Wire {
            created: self.created.clone(),
            platform: self.platform.clone(),
            config: WireConfig {
                user: self.user.clone(),
                exposed_ports: empty(&self.exposed_ports),
                env: self.env.clone(),
                entrypoint: self.entrypoint.clone(),
                cmd: self.cmd.clone(),
                volumes: empty(&self.volumes),
                working_dir: self.working_dir.clone(),
                labels: self.labels.clone(),
                stop_signal: self.stop_signal.clone(),
            },
            rootfs: WireRootfs { kind: layers(), diff_ids: self.diff_ids.clone() },
        };
        serde_json::to_vec(&wire).map_err(ConfigError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &serde_json::Value) -> ImageConfig {
        ImageConfig::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_configuration_as_docker_writes_it() {
        let config = parse(&json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {
                "User": "1000:1000", "ExposedPorts": {"8080/tcp": {}}, "Env": ["PATH=/bin", "A=b=c"], "Entrypoint": ["/app"],
                "Cmd": null, "Volumes": null, "WorkingDir": "/srv", "Labels": null, "StopSignal": "SIGINT", "OnBuild": null,
                "Healthcheck": {"Test": ["NONE"]},
            },
            "history": [{"created_by": "x"}],
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"a")]},
        }));
        assert_eq!(config.entrypoint, ["/app"]);
        assert_eq!(config.env, ["PATH=/bin", "A=b=c"]);
        assert!(config.cmd.is_empty() && config.exposed_ports.contains("8080/tcp"));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:1000", "/srv"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert_eq!(config.diff_ids, [Digest::of(b"a")]);
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_understood() {
        let nested = |open: &str, close: &str| {
            format!(r#"{{"x":{}{}}}"#, open.repeat(1_000_000), close.repeat(1_000_000)).into_bytes()
        };
        for deep in [nested("[", "]"), nested(r#"{"a":"#, "}")] {
            let refused = ImageConfig::parse(deep.get(..MAX_CONFIG_BYTES as usize).unwrap_or(&deep));
            assert!(matches!(refused, Err(ConfigError::Parse(_))), "{refused:?}");
        }
        let large = vec![b' '; MAX_CONFIG_BYTES as usize + 1];
        assert!(matches!(ImageConfig::parse(&large), Err(ConfigError::TooLarge { .. })));
        let layers = vec![Digest::of(b"a"); MAX_LAYERS + 1];
        let many = json!({"rootfs": {"type": "layers", "diff_ids": layers}}).to_string();
        assert!(matches!(ImageConfig::parse(many.as_bytes()), Err(ConfigError::TooManyLayers { .. })));
        for twice in [r#"{"config":{"User":"1"},"config":{"User":"0"}}"#, r#"{"config":{"User":"1","User":"0"}}"#] {
            assert!(ImageConfig::parse(twice.as_bytes()).is_err(), "which of the two is meant nobody knows");
        }
    }

    #[test]
    fn what_is_missing_is_empty() {
        assert_eq!(parse(&json!({})), ImageConfig::default());
        assert_eq!(parse(&json!({"config": null, "rootfs": null})), ImageConfig::default());
        assert_eq!(parse(&json!({"config": {"Entrypoint": "/app"}})).entrypoint, ["/app"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = ImageConfig {
            platform: Platform::host(),
            entrypoint: vec!["/app".into()],
            exposed_ports: ["8080/tcp".into()].into(),
            volumes: ["/data".into()].into(),
            labels: [("a".into(), "b".into())].into(),
            stop_signal: Some("SIGINT".into()),
            created: Some("1970-01-01T00:00:00Z".into()),
            diff_ids: vec![Digest::of(b"")],
            ..ImageConfig::default()
        };
        let bytes = config.to_json().unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains(r#""ExposedPorts":{"8080/tcp":{}}"#));
        assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
    }

    #[test]
    fn bounds_and_malformed_documents() {
        assert!(matches!(ImageConfig::parse(b"{"), Err(ConfigError::Parse(_))));
        let large = vec![b' '; MAX_CONFIG_BYTES as usize + 1];
        assert!(matches!(ImageConfig::parse(&large), Err(ConfigError::TooLarge { .. })));
        let many = json!({"rootfs": {"diff_ids": vec![Digest::of(b""); MAX_LAYERS + 1]}});
        assert!(matches!(ImageConfig::parse(many.to_string().as_bytes()), Err(ConfigError::TooManyLayers { .. })));
    }
}

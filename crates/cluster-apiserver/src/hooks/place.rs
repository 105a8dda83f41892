//! Where a webhook is: at a URL, or behind a Service.

use std::time::Duration;

use serde_json::Value;

use crate::field_error::quote;
use crate::store::{ObjectKey, Store, TableName};
use crate::value::{i64_at, list_at, str_at};

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a host that anybody can find.
    Url { host: String, port: Option<u16>, path: String },
    /// Behind a Service of this cluster.
    Service { namespace: String, name: String, port: u16, path: String },
}

impl Place {
    /// The place that a `clientConfig` names.
    pub(crate) fn of(client: &Value) -> Option<Self> {
        let service = &client["service"];
        if service.is_object() {
            let port = i64_at(service, &["port"]).and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTPS);
            let (namespace, name) = (str_at(service, &["namespace"]).to_owned(), str_at(service, &["name"]).to_owned());
            return Some(Self::Service { namespace, name, port, path: clean(str_at(service, &["path"])) });
        }
        let rest = str_at(client, &["url"]).strip_prefix("https://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_bare_v6 = authority.starts_with('[') && authority.ends_with(']');
        let (host, port) = match authority.rsplit_once(':').filter(|_| !is_bare_v6) {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (authority, None),
        };
        Some(Self::Url { host: host.to_owned(), port, path: clean(path) })
    }

    /// The host and port of requests.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Url { host, port: Some(port), .. } => format!("{host}:{port}"),
            Self::Url { host, port: None, .. } => host.clone(),
            Self::Service { port, .. } => format!("{}:{port}", self.server_name()),
        }
    }

    /// The name in the certificate.
    pub(super) fn server_name(&self) -> String {
        match self {
            Self::Url { host, .. } => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// The whole address, with the time that the webhook has.
    pub(super) fn url(&self, timeout: Duration) -> String {
        let (Self::Url { path, .. } | Self::Service { path, .. }) = self;
        format!("https://{}{path}?timeout={}s", self.authority(), timeout.as_secs())
    }

    /// What of a [`Place::url`] stands in a request's first line.
    pub(super) fn path_of<'a>(&self, url: &'a str) -> &'a str {
        url.get("https://".len() + self.authority().len()..).unwrap_or("/")
    }

    /// The host and port to connect to.
    pub(super) fn resolve(&self, store: &Store) -> Result<(String, u16), String> {
        match self {
            Self::Url { host, port, .. } => Ok((host.clone(), port.unwrap_or(HTTPS))),
            Self::Service { namespace, name, port, .. } => {
                let stored = store.get(&TableName::from("services"), &ObjectKey::new(namespace, name));
                let stored = stored.ok_or_else(|| format!("service {} not found", quote(name)))?;
                let service: Value = serde_json::from_slice(&stored.body).map_err(|error| error.to_string())?;
                service_address(&service, *port)
            }
        }
    }
}

fn service_address(service: &Value, port: u16) -> Result<(String, u16), String> {
    let spec = &service["spec"];
    match str_at(spec, &["type"]) {
        "ExternalName" => Ok((str_at(spec, &["externalName"]).to_owned(), port)),
        "ClusterIP" if str_at(spec, &["clusterIP"]) == "None" => {
            Err("cannot route to service with ClusterIP \"None\"".to_owned())
        }
        "ClusterIP" | "NodePort" | "LoadBalancer" => {
            let has_port = list_at(spec, &["ports"]).iter().any(|item| i64_at(item, &["port"]) == Some(port.into()));
            match has_port {
                true => Ok((str_at(spec, &["clusterIP"]).to_owned(), port)),
                false => {
                    let name = quote(str_at(service, &["metadata", "name"]));
                    Err(format!("no service port {port} found for service {name}"))
                }
            }
        }
        other => Err(format!("unsupported service type {}", quote(other))),
    }
}

/// A path as Go's client sends it: begins with a slash and does not end with one.
fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_config_names_a_place() {
        let url = |client: Value| Place::of(&client).map(|place| place.url(Duration::from_secs(10)));
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(url(json!({"url": "https://h.io"})), said("https://h.io/?timeout=10s"));
        assert_eq!(url(json!({"url": "https://h.io:8443/a/"})), said("https://h.io:8443/a?timeout=10s"));
        assert_eq!(url(json!({"url": "https://[::1]:1/a"})), said("https://[::1]:1/a?timeout=10s"));
        let service = json!({"service": {"namespace": "ns", "name": "svc", "path": "/x"}});
        assert_eq!(url(service), said("https://svc.ns.svc:443/x?timeout=10s"));
        let place = Place::of(&json!({"url": "https://[::1]/a"})).expect("place");
        assert_eq!((place.server_name().as_str(), place.path_of("https://[::1]/a")), ("::1", "/a"));
    }

    #[test]
    fn a_service_leads_to_its_address() {
        let service = |kind: &str, ip: &str| {
            json!({
                "metadata": {"name": "s"},
                "spec": {"type": kind, "clusterIP": ip, "ports": [{"port": 443}], "externalName": "h.io"},
            })
        };
        assert_eq!(service_address(&service("ClusterIP", "10.96.0.7"), 443), Ok(("10.96.0.7".to_owned(), 443)));
        assert_eq!(service_address(&service("ExternalName", ""), 8443), Ok(("h.io".to_owned(), 8443)));
        let why = service_address(&service("ClusterIP", "None"), 443).expect_err("headless");
        assert_eq!(why, "cannot route to service with ClusterIP \"None\"");
        let why = service_address(&service("NodePort", "10.96.0.7"), 80).expect_err("port");
        assert_eq!(why, "no service port 80 found for service \"s\"");
    }
}

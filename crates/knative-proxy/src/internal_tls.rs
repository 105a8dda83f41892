//! TLS among Knative's own parts (`system-internal-tls`): gateway to activator, both to queue-proxy.
//!
//! ```text
//! Secret routing-serving-certs ─┬─ tls.crt, tls.key ─► what the activator shows
//!                               └─ ca.crt ─┐
//! ConfigMaps labelled trust-bundle ────────┴─► whom gateway and activator trust
//! config-network ─► whether the activator speaks TLS to Pods
//! ```
//! Whoever answers has to show a certificate for its own name: the activator `kn-routing`, a Pod that of its namespace. What cannot be read is
//! left out, and what was there before goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::{Informer, Informers, Key, Scope};
use base_net::tls::{self, Certificates, ClientTls, Trust};
use base_rt::{error_chain, watch};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use knative_apis::config::{ConfigMap as _, Network};
use knative_apis::meta::internal_tls::{DATA_PLANE_NAME, ROUTING_CERTIFICATE, data_plane_user_name};
use knative_apis::meta::{label, label_value};
use rustls_pki_types::ServerName;

use crate::gateway::TLS_SECRETS;

const AUTHORITY: &str = "ca.crt";

/// What the parts of this process need for it. Clones share it.
#[derive(Clone, Debug)]
pub struct InternalTls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    own: Certificates,
    client: ClientTls,
    is_enabled: watch::Sender<bool>,
    trusted: Mutex<Trusted>,
}

/// Texts with certificates of authorities, by where they come from.
#[derive(Debug, Default)]
struct Trusted {
    secret: Vec<u8>,
    bundles: BTreeMap<Key, Vec<u8>>,
}

impl Default for InternalTls {
    fn default() -> Self {
        Self(Arc::new(Shared {
            own: Certificates::default(),
            client: ClientTls::default(),
            is_enabled: watch::Sender::new(false),
            trusted: Mutex::default(),
        }))
    }
}

/// The name that the queue-proxies of a namespace show. One that is too long for a name has only that of everybody.
pub(crate) fn name_of_namespace(namespace: &str) -> Option<ServerName<'static>> {
    let own = ServerName::try_from(data_plane_user_name(namespace));
    own.or_else(|_too_long| ServerName::try_from(DATA_PLANE_NAME)).ok()
}

impl InternalTls {
    /// How connections to parts are made: for the [`base_net::connect::Connector`] of whoever makes some.
    pub fn client(&self) -> ClientTls {
        self.0.client.clone()
    }

    /// What the activator shows.
    pub(crate) fn own(&self) -> &Certificates {
        &self.0.own
    }

    /// Whether the operator wants it.
    pub(crate) fn is_enabled(&self) -> watch::Receiver<bool> {
        self.0.is_enabled.subscribe()
    }

    /// Follows what the API says, from now on.
    pub fn follow(&self, informers: &Informers, system_namespace: &str) {
        let secrets: Informer<Secret> = informers.get(Scope::all().with_fields(format!("type={TLS_SECRETS}")));
        let (internal, routing) = (self.clone(), Key::new(system_namespace, ROUTING_CERTIFICATE));
        secrets.subscribe(move |delta| {
            if delta.latest().is_some_and(|latest| Key::of(&**latest) == routing)
                && let Some(secret) = delta.new
            {
                internal.set_secret(secret);
            }
        });
        let maps: Informer<ConfigMap> = informers.get(Scope::namespace(system_namespace));
        let internal = self.clone();
        maps.subscribe(move |delta| {
            let Some(latest) = delta.latest() else { return };
            internal.set_map(&Key::of(&**latest), delta.new.map(|new| &**new));
        });
    }

    /// The Secret is this now. One that has gone leaves what it said.
    pub fn set_secret(&self, secret: &Secret) {
        let part = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0);
        match tls::certified_key(part("tls.crt"), part("tls.key")) {
            Ok(certified) => self.0.own.replace(BTreeMap::new(), Some(certified)),
            Err(error) => {
                tracing::warn!(
                    secret = ROUTING_CERTIFICATE,
                    error = error_chain(&error),
                    "a certificate cannot be used"
                );
            }
        }
        let mut trusted = self.trusted();
        if trusted.secret != part(AUTHORITY) {
            trusted.secret = part(AUTHORITY).to_vec();
            self.trust(&trusted);
        }
    }

    /// A ConfigMap of the system namespace is this now.
    pub fn set_map(&self, key: &Key, map: Option<&ConfigMap>) {
        if key.name() == Network::NAME {
            // What cannot be read changes nothing.
            if let Ok(network) = Network::parse(map.and_then(|map| map.data.as_ref()).unwrap_or(&BTreeMap::new())) {
                self.0.is_enabled.send_if_modified(|is_enabled| {
                    std::mem::replace(is_enabled, network.system_internal_tls) != network.system_internal_tls
                });
            }
            return;
        }
        let is_bundle = |map: &&ConfigMap| label_value(&map.metadata, label::TRUST_BUNDLE).is_some();
        let texts = map.filter(is_bundle).and_then(|map| map.data.as_ref());
        let bundle =
            texts.map(|texts| texts.values().filter(|text| is_usable(key, text)).map(String::as_str).collect());
        let mut trusted = self.trusted();
        let before = match bundle.map(|texts: Vec<&str>| texts.join("\n").into_bytes()) {
            Some(text) => trusted.bundles.insert(key.clone(), text),
            None => trusted.bundles.remove(key),
        };
        if before.as_ref() != trusted.bundles.get(key) {
            self.trust(&trusted);
        }
    }

    fn trust(&self, trusted: &Trusted) {
        let all = [&trusted.secret].into_iter().chain(trusted.bundles.values()).map(Vec::as_slice);
        let all: Vec<&[u8]> = all.filter(|text| !text.is_empty()).collect();
        match tls::client_config(Trust::Authorities(&all.join(&b'\n')), None) {
            Ok(config) => self.0.client.replace(config),
            Err(error) => tracing::warn!(error = error_chain(&error), "no authority to trust for TLS inside"),
        }
    }

    fn trusted(&self) -> MutexGuard<'_, Trusted> {
        self.0.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_usable(key: &Key, text: &str) -> bool {
    let is_usable = tls::are_authorities(text.as_bytes());
    if !is_usable {
        tracing::warn!(config_map = %key, "a trust bundle holds what is no certificate, and is not used");
    }
    is_usable
}

#[cfg(test)]
mod tests {
    use base_net::pki::{Authority, Subject};
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn map(labels: serde_json::Value, data: serde_json::Value) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"labels": labels}, "data": data})).unwrap()
    }

    #[test]
    fn whom_to_trust_is_in_the_secret_and_in_bundles() {
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        let authority = Authority::generate("ca", now, 1).unwrap();
        let made = authority.issue(("", Subject::Server(&["kn-routing".to_owned()])), now, 1).unwrap();
        let of_authority = authority.credentials().certificate_pem.as_str();
        let internal = InternalTls::default();
        let (client, key) = (internal.client(), Key::new("knative-serving", "bundle"));
        let bundle = |text: &str| map(json!({"networking.knative.dev/trust-bundle": "true"}), json!({"ca.pem": text}));
        for (labels, text) in [(json!({}), of_authority), (json!({"networking.knative.dev/trust-bundle": ""}), "none")]
        {
            internal.set_map(&key, Some(&map(labels, json!({"ca.pem": text}))));
            assert!(!client.is_set(), "nobody is to be trusted yet");
        }
        internal.set_map(&key, Some(&bundle(of_authority)));
        assert!(client.is_set());
        let data = [("tls.crt", made.certificate_pem.as_str()), ("tls.key", &made.key_pem), ("ca.crt", of_authority)];
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        internal.set_secret(&Secret { data: Some(data.into()), ..Secret::default() });
        assert_eq!(internal.trusted().bundles.len(), 1);
        assert_eq!(internal.trusted().secret, of_authority.as_bytes());
        internal.set_map(&key, None);
        assert!(internal.trusted().bundles.is_empty());
    }

    #[test]
    fn it_is_the_operators_switch() {
        let internal = InternalTls::default();
        let (key, is_enabled) = (Key::new("knative-serving", "config-network"), internal.is_enabled());
        let set = |value: &str| internal.set_map(&key, Some(&map(json!({}), json!({"system-internal-tls": value}))));
        set("Enabled");
        assert!(*is_enabled.borrow());
        set("perhaps");
        assert!(*is_enabled.borrow(), "what cannot be read changes nothing");
        internal.set_map(&key, None);
        assert!(!*is_enabled.borrow());
    }
}

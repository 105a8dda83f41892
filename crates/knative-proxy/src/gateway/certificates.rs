//! The certificates that Ingresses name for their hosts, from the Secrets that hold them.
//!
//! Ingresses and Secrets are taken in one by one, in any order: a host has its certificate as soon as both are there, and none when one has
//! gone. Whoever asks for a host without one, or for none, gets no TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Key;
use base_net::tls::{self, Certificates, CertifiedKey};
use k8s_openapi::api::core::v1::Secret;
use knative_apis::networking::Ingress;

/// The type of Secrets that hold a certificate.
pub(crate) const TLS_SECRETS: &str = "kubernetes.io/tls";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Which certificate each host has.
#[derive(Default)]
pub(crate) struct HostCertificates {
    certificates: Certificates,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What each Ingress asks for: hosts, and the Secret of each.
    asked: BTreeMap<Key, Vec<(String, Key)>>,
    secrets: BTreeMap<Key, Arc<CertifiedKey>>,
}

impl HostCertificates {
    /// What a server chooses from.
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Takes the hosts of an Ingress of this gateway, and the Secrets that it names for them, in place of those it had; nothing when it is gone.
    pub(crate) fn set_ingress(&self, key: &Key, ingress: Option<&Ingress>) {
        let asked: Vec<_> = ingress
            .iter()
            .flat_map(|ingress| &ingress.spec.tls)
            .flat_map(|tls| {
                let secret = Key::new(tls.secret_namespace.as_str(), tls.secret_name.as_str());
                tls.hosts.iter().map(move |host| (host.to_ascii_lowercase(), secret.clone()))
            })
            .collect();
        let mut known = self.known();
        let before = if asked.is_empty() { known.asked.remove(key) } else { known.asked.insert(key.clone(), asked) };
        if before.as_ref() != known.asked.get(key) {
            self.replace(&known);
        }
    }

    /// Takes the certificate of a Secret in place of the one it had; nothing when it is gone or has none that can be used.
    pub(crate) fn set_secret(&self, key: &Key, secret: Option<&Secret>) {
        let certified = secret.and_then(|secret| match read(secret) {
            Ok(certified) => Some(certified),
            Err(error) => {
                tracing::warn!(secret = %key, error = base_rt::error_chain(&error), "a certificate cannot be used");
                None
            }
        });
        let mut known = self.known();
        match certified {
            Some(certified) => drop(known.secrets.insert(key.clone(), certified)),
            None => drop(known.secrets.remove(key)),
        }
        if known.asked.values().flatten().any(|(_, secret)| secret == key) {
            self.replace(&known);
        }
    }

    fn replace(&self, known: &Known) {
        let asked = known.asked.values().flatten();
        let found = asked.filter_map(|(host, secret)| Some((host.clone(), Arc::clone(known.secrets.get(secret)?))));
        self.certificates.replace(found.collect(), None);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(secret: &Secret) -> Result<Arc<CertifiedKey>, tls::TlsError> {
    let part = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0);
    tls::certified_key(part(CERTIFICATE), part(KEY))
}

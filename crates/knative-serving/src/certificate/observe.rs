//! What the plan of a Certificate looks at, and what is made for it if it needs something.

use std::collections::BTreeSet;
use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use base_net::pki::{Credentials, Facts};
use base_rt::error_chain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use knative_apis::meta::{annotation, annotations, label_value, owner};
use knative_apis::networking::Certificate;
use serde::Serialize;

use super::resources::{AUTHORITY_COMPONENT, COMPONENT_LABEL};
use super::workshop::{Made, Workshop, credentials};
use crate::caches::Caches;
use crate::settings::Settings;

/// What a Secret holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Held {
    /// There is no such Secret.
    Nothing,
    /// No pair of certificate and key that can be used, and why.
    Unusable(String),
    /// A pair.
    #[serde(rename_all = "camelCase")]
    Pair {
        dns_names: BTreeSet<String>,
        not_after: Timestamp,
        /// When it is to be made anew.
        renewal: Timestamp,
    },
}

/// The facts about one Certificate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Certificate.
    pub(super) certificate: Arc<Certificate>,
    /// The Secret that it names, whosever.
    #[serde(skip)]
    pub(super) secret: Option<Arc<Secret>>,
    /// What that holds.
    pub(super) held: Held,
    /// The authority's Secret, whosever.
    #[serde(skip)]
    pub(super) authority_secret: Option<Arc<Secret>>,
    /// What that holds.
    pub(super) authority: Held,
    /// What has been made because it is needed, or why it could not be.
    #[serde(skip)]
    pub(super) made: Result<Made, String>,
    /// Everything that it looks at by name, whether that is there or not.
    #[serde(skip)]
    pub(super) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the Certificate is gone, going, or for another provider.
pub(super) fn gather(
    caches: &Caches,
    (settings, workshop): (&Settings, &dyn Workshop),
    (key, now): (&Key, Timestamp),
) -> Option<Observed> {
    let certificate = caches.certificates.get(key)?;
    let class = annotation::CERTIFICATE_CLASS.value(annotations(&certificate.metadata)).unwrap_or_default();
    if certificate.metadata.deletion_timestamp.is_some() || class != settings.certificate_class {
        return None;
    }
    let place = Key::new(key.namespace(), certificate.spec.secret_name.as_str());
    let (secret, authority_secret) = (caches.secrets.get(&place), caches.secrets.get(&settings.authority_secret));
    let references = vec![ObjectRef::new::<Secret>(place), ObjectRef::new::<Secret>(settings.authority_secret.clone())];
    let held = Held::of(secret.as_deref(), workshop);
    let authority = Held::of(authority_secret.as_deref(), workshop);
    let mut observed =
        Observed { certificate, secret, held, authority_secret, authority, made: Ok(Made::default()), references };
    observed.made = observed.make(&settings.authority_secret, workshop, now);
    Some(observed)
}

impl Held {
    fn of(secret: Option<&Secret>, workshop: &dyn Workshop) -> Self {
        match secret.map(|secret| workshop.read(secret)) {
            None => Self::Nothing,
            Some(Err(why)) => Self::Unusable(why),
            Some(Ok(facts)) => {
                let renewal = facts.renewal();
                let Facts { dns_names, not_after, .. } = facts;
                Self::Pair { dns_names, not_after, renewal }
            }
        }
    }

    /// Whether it has to be made anew by now, were it only for its age.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match self {
            Self::Nothing | Self::Unusable(_) => true,
            Self::Pair { renewal, .. } => *renewal <= now,
        }
    }

    /// Whether it is a certificate for these names that is still valid.
    pub(super) fn is_valid(&self, names: &[String], now: Timestamp) -> bool {
        match self {
            Self::Nothing | Self::Unusable(_) => false,
            Self::Pair { dns_names, not_after, .. } => {
                dns_names.iter().eq(names.iter().collect::<BTreeSet<_>>()) && now < *not_after
            }
        }
    }
}

impl Observed {
    /// Whether the Secret that is there is not this Certificate's.
    pub(super) fn is_taken(&self) -> bool {
        self.secret
            .as_ref()
            .is_some_and(|secret| !owner::is_controlled_by(&secret.metadata, &self.certificate.metadata))
    }

    /// Whether the authority was made here; one that was not is never written.
    fn is_own_authority(&self) -> bool {
        let component = self.authority_secret.as_ref().map(|secret| label_value(&secret.metadata, COMPONENT_LABEL));
        component.is_none_or(|component| component == Some(AUTHORITY_COMPONENT))
    }

    fn make(&self, place: &Key, workshop: &dyn Workshop, now: Timestamp) -> Result<Made, String> {
        let failed = |error: base_net::pki::PkiError| error_chain(&error).to_string();
        if self.is_taken() {
            return Ok(Made::default());
        }
        let known = self.authority_secret.as_deref().map(credentials);
        let (authority, is_new) = match (&self.authority, known) {
            (Held::Pair { .. }, Some(known)) if !self.authority.is_due(now) => (known, false),
            (Held::Pair { .. }, Some(known)) if self.is_own_authority() => {
                (workshop.renew(known, now).map_err(failed)?, true)
            }
            (Held::Pair { not_after, .. }, Some(known)) if now < *not_after => (known, false),
            (Held::Pair { not_after, .. }, _) => {
                return Err(format!(
                    "the certificate of the authority in Secret {place} expired at {not_after}: replace it"
                ));
            }
            (Held::Unusable(why), _) => {
                return Err(format!(
                    "the authority in Secret {place} cannot be used ({why}): repair it, or delete it for a new one"
                ));
            }
            (Held::Nothing, _) => (workshop.found(now).map_err(failed)?, true),
        };
        let spec = &self.certificate.spec;
        let is_needed = self.held.is_due(now) || !self.held.is_valid(&spec.dns_names, now);
        let issue = |authority: &Credentials| workshop.issue(authority.clone(), &spec.dns_names, now).map_err(failed);
        let issued = is_needed.then(|| issue(&authority)).transpose()?;
        Ok(Made {
            certificate: issued.map(|issued| (issued, authority.certificate_pem.clone())),
            authority: is_new.then_some(authority),
        })
    }
}

//! Keeps what has been made, and says how far it has come.

use std::time::Duration;

use base_controller::{Change, Plan};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knative_apis::condition::READY;
use knative_apis::go_text::quote;
use knative_apis::networking::CertificateStatus;
use kube::ResourceExt;
use serde_json::json;

use super::observe::{Held, Observed};
use super::resources::{make_authority_secret, make_secret};
use super::workshop::Made;
use crate::json;
use crate::settings::Settings;
use crate::status::{begin, create, end, update};

/// When to try again what could not be made.
const RETRY: Duration = Duration::from_secs(60);

/// Decides.
pub(super) fn plan(observed: &Observed, settings: &Settings, now: Timestamp) -> Plan<CertificateStatus> {
    let certificate = &*observed.certificate;
    let mut plan = Plan::new(begin(certificate, now));
    plan.track.clone_from(&observed.references);
    if observed.is_taken() {
        plan.status.mark_resource_not_owned("Secret", &certificate.spec.secret_name, now);
    } else {
        keep(&mut plan, observed, settings, now);
    }
    end(certificate, &mut plan.status);
    plan
}

fn keep(plan: &mut Plan<CertificateStatus>, observed: &Observed, settings: &Settings, now: Timestamp) {
    let certificate = &*observed.certificate;
    match &observed.made {
        Ok(Made { authority, certificate: issued }) => {
            if let Some(authority) = authority {
                let desired = make_authority_secret(&settings.authority_secret, authority);
                plan.changes.extend(write(observed.authority_secret.as_deref(), &desired));
            }
            if let Some((issued, authority_pem)) = issued {
                plan.changes
                    .extend(write(observed.secret.as_deref(), &make_secret(certificate, issued, authority_pem)));
            }
        }
        Err(_) => plan.again = Some(RETRY),
    }
    say(plan, observed, now);
}

/// What is there serves on while its successor is being made.
fn say(plan: &mut Plan<CertificateStatus>, observed: &Observed, now: Timestamp) {
    match (&observed.held, &observed.made) {
        (held @ Held::Pair { not_after, renewal, .. }, _)
            if held.is_valid(&observed.certificate.spec.dns_names, now) =>
        {
            plan.status.not_after = Some(Time(*not_after));
            plan.status.mark_ready(now);
            let next = match &observed.authority {
                Held::Pair { renewal: of_authority, .. } => *renewal.min(of_authority),
                Held::Nothing | Held::Unusable(_) => *renewal,
            };
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or(RETRY);
            plan.again = Some(plan.again.unwrap_or(wait).min(wait));
        }
        (_, Ok(_)) => plan.status.mark_not_ready("Issuing", "The certificate is being issued.", now),
        (_, Err(why)) => plan.status.mark_failed("IssueFailed", why, now),
    }
}

fn write(existing: Option<&Secret>, desired: &Secret) -> Option<Change> {
    let what = format!("Secret {}", quote(&desired.name_any()));
    match existing {
        None => Some(create(desired, READY, &what)),
        Some(existing) => {
            let change = json::change(existing, json!({ "data": desired.data }));
            change.map(|change| update(change, READY, &what))
        }
    }
}

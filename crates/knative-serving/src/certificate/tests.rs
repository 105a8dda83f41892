//! Rows of `testdata/`. In these a Secret's `tls.crt` says `NAMES|NOT BEFORE|NOT AFTER` instead of being a certificate.

use base_net::pki::{Credentials, Facts, PkiError};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::observe::gather;
use super::plan::plan;
use super::workshop::{Workshop, credentials};
use crate::golden;
use crate::settings::Settings;

struct Texts;

impl Workshop for Texts {
    fn read(&self, secret: &Secret) -> Result<Facts, String> {
        let text = credentials(secret).certificate_pem;
        let parts: Vec<&str> = text.split('|').collect();
        let [names, not_before, not_after] = parts.as_slice() else { return Err("no certificate".to_owned()) };
        Ok(Facts {
            dns_names: names.split(',').map(str::to_owned).collect(),
            not_before: not_before.parse().unwrap(),
            not_after: not_after.parse().unwrap(),
        })
    }

    fn found(&self, _now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(pair())
    }

    fn renew(&self, _authority: Credentials, _now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(pair())
    }

    fn issue(&self, _authority: Credentials, _names: &[String], _now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(pair())
    }
}

fn pair() -> Credentials {
    Credentials { certificate_pem: "new".to_owned(), key_pem: "new".to_owned() }
}

#[test]
fn plans_are_as_written() {
    let settings = Settings { certificate_class: "kwick".to_owned(), ..Settings::default() };
    golden::check("certificate", |given| {
        let observed = gather(&given.caches, (&settings, &Texts), (&given.key, given.now))?;
        Some(plan(&observed, &settings, given.now))
    });
}

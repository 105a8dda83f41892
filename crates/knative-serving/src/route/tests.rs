//! Rows of `testdata/`. A row's facts: `{externalPort, externalTlsPort}`.

use std::sync::Arc;

use super::observe::gather;
use super::plan::plan;
use crate::golden;
use crate::settings::Settings;

#[test]
fn plans_are_as_written() {
    golden::check("route", |given| {
        let mut configs = given.configs.clone();
        let port = |name: &str| given.facts[name].as_u64().and_then(|port| u16::try_from(port).ok());
        configs.settings = Arc::new(Settings {
            external_port: port("externalPort").unwrap_or(80),
            external_tls_port: port("externalTlsPort").unwrap_or(443),
            ..Settings::default()
        });
        gather(&given.caches, &configs, &given.key).map(|observed| plan(&observed, &configs, given.now))
    });
}

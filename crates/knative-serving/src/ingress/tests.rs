//! Rows of `testdata/`. A row's facts are what gateways serve: `{gateway: current | other | nothing}`.

use std::collections::BTreeMap;

use knative_apis::networking::LoadBalancerIngressStatus;

use super::{GatewayFacts, gather, plan};
use crate::golden;
use crate::settings::Settings;

#[test]
fn plans_are_as_written() {
    let load_balancer = |name: &str| LoadBalancerIngressStatus {
        domain_internal: format!("{name}.knative-serving.svc.cluster.local"),
        ..LoadBalancerIngressStatus::default()
    };
    let settings = Settings {
        ingress_class: "kwick".to_owned(),
        public_load_balancer: load_balancer("gateway"),
        private_load_balancer: load_balancer("gateway-internal"),
        ..Settings::default()
    };
    golden::check("ingress", |given| {
        let gateways = GatewayFacts::default();
        let current = gather(&given.caches.ingresses, (&gateways, &settings), &given.key)?.version;
        let facts: BTreeMap<String, String> = serde_json::from_value(given.facts.clone()).unwrap_or_default();
        for (gateway, serves) in &facts {
            gateways.join(gateway);
            let version = match serves.as_str() {
                "current" => Some(current.as_str()),
                "other" => Some("other"),
                _ => None,
            };
            gateways.serves(gateway, &given.key, version);
        }
        let observed = gather(&given.caches.ingresses, (&gateways, &settings), &given.key)?;
        Some(plan(&observed, &settings, given.now))
    });
}

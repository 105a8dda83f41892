//! Services of type LoadBalancer: on one machine the balancer is the machine itself, so the status says `127.0.0.1`.
//!
//! Tools wait for such an address. What listens there are the Service's node ports (`service_ip`); an ingress that somebody else has set stays.
//! A Service that has become of another type loses the address.

use std::sync::Arc;

use base_controller::writers::Write;
use base_controller::{Context, Controller, Informer, Key, Plan, Reconciler, Scope};
use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus};
use serde::Serialize;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "service-load-balancer-controller";

/// The address of every balancer.
const ADDRESS: &str = "127.0.0.1";

/// Gives addresses to Services of type LoadBalancer.
struct LoadBalancers {
    services: Informer<Service>,
}

/// The facts about one Service.
#[derive(Debug, Serialize)]
struct Observed {
    service: Arc<Service>,
}

impl Reconciler for LoadBalancers {
    type Object = Service;
    type Observed = Observed;
    type Status = Option<ServiceStatus>;

    const WRITES: &'static [Write] = &[Write::status("", "Service", &["loadBalancer"])];

    fn gather(&self, key: &Key) -> Option<Observed> {
        self.services.get(key).map(|service| Observed { service })
    }

    fn object<'a>(&self, observed: &'a Observed) -> Option<&'a Arc<Service>> {
        Some(&observed.service)
    }

    fn plan(&self, observed: &Observed, _now: Timestamp) -> Plan<Self::Status> {
        Plan::new(status(&observed.service))
    }
}

/// Starts the controller.
pub fn start(context: &Context) {
    let services = context.informers.get::<Service>(Scope::all());
    Controller::new(NAME, LoadBalancers { services: services.clone() }, &services, context).start();
}

/// The status that a Service gets; none if it is not ours to say.
fn status(service: &Service) -> Option<ServiceStatus> {
    let is_balanced = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let before = service.status.clone().unwrap_or_default();
    let ingress = before.load_balancer.as_ref().and_then(|balancer| balancer.ingress.clone()).unwrap_or_default();
    let is_ours = matches!(ingress.as_slice(), [one] if one.ip.as_deref() == Some(ADDRESS));
    let ingress = match (is_balanced, ingress.is_empty(), is_ours) {
        (true, true, _) => Some(vec![LoadBalancerIngress {
            ip: Some(ADDRESS.to_owned()),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        }]),
        (false, _, true) => None,
        _ => return None,
    };
    Some(ServiceStatus { load_balancer: Some(LoadBalancerStatus { ingress }), ..before })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn given(type_: &str, status: Value) -> Value {
        let service = serde_json::from_value(json!({"metadata": {}, "spec": {"type": type_}, "status": status}));
        serde_json::to_value(super::status(&service.unwrap())).unwrap()
    }

    #[test]
    fn a_balancer_has_an_address_as_long_as_it_is_one() {
        let ours = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ipMode": "VIP"}]}});
        let theirs = json!({"loadBalancer": {"ingress": [{"hostname": "example.com"}]}});
        assert_eq!(given("LoadBalancer", json!({"loadBalancer": {}})), ours);
        assert_eq!(given("LoadBalancer", ours.clone()), Value::Null, "it has it already");
        assert_eq!(given("LoadBalancer", theirs.clone()), Value::Null);
        assert_eq!(given("ClusterIP", ours), json!({"loadBalancer": {}}));
        assert_eq!(given("ClusterIP", theirs), Value::Null);
        assert_eq!(given("ClusterIP", json!({})), Value::Null);
    }
}

#![expect(clippy::disallowed_methods, reason = "tests play operators")]

use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity, ServiceAccountKey};
use k8s_openapi::api::rbac::v1::ClusterRole;

use super::*;
use crate::assembly::{ControlPlane, Level};

const CORE: &str = "knative-serving-core";

fn installation() -> Installation {
    Installation {
        system_namespace: "knative-serving".to_owned(),
        gateway_namespace: KWICK_NAMESPACE.to_owned(),
        image: "kwick".to_owned(),
        domain: "localhost".to_owned(),
        ingress_class: "kwick".to_owned(),
    }
}

async fn open(disk: &MemoryDisk, level: Level) -> (Client, ApiServer, ShutdownHandle) {
    let (handle, shutdown) = Shutdown::new();
    let key = ServiceAccountKey::from_pem(&ServiceAccountKey::generate_pem().unwrap()).unwrap();
    let config = ApiServerConfig::new(disk.journal(), Clock::system(), Tasks::new(shutdown), key);
    let plane = ControlPlane::open(config, level, &installation()).await.unwrap();
    (plane.api.client_as(&Identity::master("operator")), plane.api, handle)
}

#[tokio::test]
async fn a_second_start_writes_nothing() {
    let disk = MemoryDisk::new();
    let (client, api, _handle) = open(&disk, Level::All).await;
    let services: Api<DynamicObject> =
        Api::all_with(client, &ApiResource::erase::<knative_apis::serving::v1::Service>(&()));
    assert!(services.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty(), "the kinds are served");
    api.close();
    let appends = disk.appends();
    let (_client, api, _handle) = open(&disk, Level::All).await;
    api.close();
    assert_eq!(disk.appends(), appends);
}

#[tokio::test]
async fn what_an_operator_changed_stays_until_an_upgrade() {
    let disk = MemoryDisk::new();
    let (client, _api, _handle) = open(&disk, Level::All).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "knative-serving");
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let domain = Patch::Merge(json!({"data": {"localhost": null, "example.org": ""}}));
    maps.patch("config-domain", &PatchParams::default(), &domain).await.unwrap();
    let rules = Patch::Merge(json!({"rules": []}));
    roles.patch(CORE, &PatchParams::default(), &rules).await.unwrap();

    let bundle = Bundle::of_cluster().and(Bundle::of_knative(&installation()));
    bundle.install(&client).await.unwrap();
    assert!(roles.get(CORE).await.unwrap().rules.unwrap_or_default().is_empty(), "the same version changes nothing");

    write_record(&client, "another".to_owned()).await.unwrap();
    bundle.install(&client).await.unwrap();
    assert!(!roles.get(CORE).await.unwrap().rules.unwrap_or_default().is_empty(), "another version renews its own");
    let data = maps.get("config-domain").await.unwrap().data.unwrap();
    assert_eq!(data.into_keys().collect::<Vec<_>>(), ["example.org"], "settings are the operator's");
}

#[tokio::test]
async fn a_bare_api_has_nothing_of_knative() {
    let (client, _api, _handle) = open(&MemoryDisk::new(), Level::Api).await;
    let kinds: Api<CustomResourceDefinition> = Api::all(client);
    assert!(kinds.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
}

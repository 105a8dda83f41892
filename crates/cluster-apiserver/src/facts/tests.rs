//! The committed table is consistent, and says what is known of a few types.

use sha2::{Digest, Sha256};

use super::*;
use crate::kinds::{Storage, builtins};

#[test]
fn the_table_is_whole() {
    let table = table::whole();
    assert_eq!(&table[..8], b"KFACTS01");
    assert_eq!(table.len(), table::end());
    assert_eq!(Sha256::digest(&table[24..])[..16], digest());
}

#[test]
fn every_column_is_in_order() {
    let strings: Vec<&str> = (0..table::string_count()).map(table::string).collect();
    assert!(strings.windows(2).all(|pair| pair[0] < pair[1]));
    let names: Vec<&str> = types().map(Type::name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    for of in types() {
        let fields: Vec<&str> = of.fields().map(Field::name).collect();
        assert!(fields.windows(2).all(|pair| pair[0] < pair[1]), "{}", of.name());
        for field in of.fields() {
            assert_eq!(of.field(field.name()), Some(field));
        }
    }
}

#[test]
fn every_field_is_consistent() {
    let mut seen = 0;
    for of in types() {
        let mut numbers = std::collections::BTreeSet::new();
        for field in of.fields() {
            let place = format!("{}.{}", of.name(), field.name());
            assert_eq!(field.number() == 0, field.is_type_meta(), "{place}");
            assert!(field.is_type_meta() || numbers.insert((field.via(), field.number())), "{place}: number twice");
            assert_eq!(field.via() == [0, 0], field.embedded_in().is_empty(), "{place}");
            let needs_message = matches!(
                field.value_kind(),
                ValueKind::Message
                    | ValueKind::SchemaOrBool
                    | ValueKind::SchemaOrArray
                    | ValueKind::SchemaOrStringArray
            );
            assert_eq!(field.message().is_some(), needs_message, "{place}");
            assert!(!field.go_type().is_empty(), "{place}");
            if field.list_type() == Some(ListType::Map) {
                let item = field.message().expect("a message");
                for key in field.list_map_keys() {
                    assert!(item.field(key).is_some(), "{place}: key {key}");
                }
            }
            if let Some(key) = field.patch_merge_key() {
                assert!(field.message().expect("a message").field(key).is_some(), "{place}: merge key {key}");
            }
            for json in [field.default_json(), field.enum_json()].into_iter().flatten() {
                serde_json::from_str::<serde_json::Value>(json).expect(&place);
            }
            seen += 1;
        }
    }
    assert!(seen > 1500, "{seen} fields");
}

#[test]
fn every_served_kind_has_a_type() {
    for kind in builtins() {
        let found = type_of_kind(kind.group, kind.version, kind.kind);
        let found = found.unwrap_or_else(|| panic!("{}/{} {}", kind.group, kind.version, kind.kind));
        assert!(found.has_type_meta());
        assert!(matches!(kind.storage, Storage::Virtual) || found.field("metadata").is_some());
    }
    assert_eq!(type_of_kind("apps", "v1", "Deploymen"), None);
    assert_eq!(type_named("io.k8s.api.core.v1.Nope"), None);
    assert!(object_meta().is_some());
}

#[test]
fn known_facts() {
    let field = |of: &str, name: &str| type_named(of).expect(of).field(name).expect(name);
    let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
    assert_eq!(containers.shape(), Shape::List);
    assert_eq!(containers.patch_merge_key(), Some("name"));
    assert!(containers.patch_merges() && containers.is_required() && !containers.omits_empty());
    assert_eq!(containers.list_type(), Some(ListType::Map));
    assert_eq!(containers.message().expect("Container").go_name(), "v1.Container");

    let replicas = field("io.k8s.api.apps.v1.DeploymentSpec", "replicas");
    assert!(replicas.is_pointer() && replicas.number() == 1 && replicas.value_kind() == ValueKind::Int32);
    assert!(field("io.k8s.api.apps.v1.DeploymentSpec", "strategy").patch_retains_keys());

    let http_get = field("io.k8s.api.core.v1.Probe", "httpGet");
    assert_eq!((http_get.via(), http_get.number(), http_get.embedded_in()), ([1, 0], 2, "ProbeHandler."));
    let ports: Vec<_> = field("io.k8s.api.core.v1.Container", "ports").list_map_keys().collect();
    assert_eq!(ports, ["containerPort", "protocol"]);
    assert_eq!(field("io.k8s.api.core.v1.ServicePort", "protocol").default_json(), Some("\"TCP\""));
    assert_eq!(field("io.k8s.api.core.v1.Secret", "data").value_kind(), ValueKind::Bytes);
    assert_eq!(field("io.k8s.api.coordination.v1.LeaseSpec", "renewTime").value_kind(), ValueKind::MicroTime);
    assert!(type_named("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").expect("LabelSelector").is_atomic());
}

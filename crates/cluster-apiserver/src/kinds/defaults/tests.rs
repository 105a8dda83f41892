//! Defaults as Kubernetes' own types give them.

use serde_json::Value;

use super::apply;
use crate::{facts::type_of_kind, strict};

#[test]
fn objects_get_the_servers_defaults() {
    let mut rows = 0;
    for line in include_str!("../../../testdata/defaults.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        let api_version = row["object"]["apiVersion"].as_str().expect("apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let of = type_of_kind(group, version, row["object"]["kind"].as_str().expect("kind")).expect("a kind");
        let mut object = strict::decode_value(of, &row["object"]).expect("an object").value;
        apply(&mut object);
        let canonical = strict::decode_value(of, &object).expect("an object").value;
        assert_eq!(canonical, row["defaulted"], "{}", row["object"]);
        apply(&mut object);
        assert_eq!(strict::decode_value(of, &object).expect("an object").value, canonical, "twice is once");
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
}

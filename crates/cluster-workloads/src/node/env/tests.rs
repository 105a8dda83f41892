use serde_json::{Value, json};

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": "p", "uid": "u", "labels": {"app": "x"}},
        "spec": {"nodeName": "here", "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}}]},
    }))
    .unwrap()
}

fn sources() -> Sources {
    let map = json!({"data": {"A": "from map", "B": "b"}});
    let secret = json!({"data": {"S": "c2VjcmV0"}});
    Sources {
        config_maps: [("m".to_owned(), serde_json::from_value(map).unwrap()), ("absent".to_owned(), None)].into(),
        secrets: [("s".to_owned(), serde_json::from_value(secret).unwrap())].into(),
    }
}

fn make(container: Value) -> Result<Environment, String> {
    let mut value = json!({"name": "c"});
    value.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    make_env(EnvInput {
        pod: &pod(),
        container: &serde_json::from_value(value).unwrap(),
        image: &["PATH=/bin".to_owned(), "A=from image".to_owned()],
        services: &[("SVC".to_owned(), "service".to_owned())].into(),
        sources: &sources(),
        addresses: Addresses { pod: "10.0.0.2".parse().ok(), host: "10.0.0.1".parse().unwrap() },
        node: NodeLimits { cpu_millis: 4000, memory_bytes: 1 << 30 },
    })
}

#[test]
fn later_sources_win() {
    let env = make(json!({
        "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "P_", "secretRef": {"name": "s"}}],
        "env": [{"name": "B", "value": "$(A) and $(SVC) and $(NO)"}, {"name": "EMPTY"}],
    }))
    .unwrap();
    let expected = [
        ("A", "from map"),
        ("B", "from map and service and $(NO)"),
        ("EMPTY", ""),
        ("PATH", "/bin"),
        ("P_S", "secret"),
        ("SVC", "service"),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(env.all, expected);
    assert!(!env.own.contains_key("PATH"), "commands do not see the image's");
}

#[test]
fn values_from_elsewhere() {
    let rows = [
        (json!({"fieldRef": {"fieldPath": "metadata.name"}}), Ok("p")),
        (json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}}), Ok("x")),
        (json!({"fieldRef": {"fieldPath": "metadata.labels['none']"}}), Ok("")),
        (json!({"fieldRef": {"fieldPath": "status.podIP"}}), Ok("10.0.0.2")),
        (json!({"fieldRef": {"fieldPath": "status.hostIP"}}), Ok("10.0.0.1")),
        (json!({"fieldRef": {"fieldPath": "spec.nodeName"}}), Ok("here")),
        (json!({"fieldRef": {"fieldPath": "spec.no"}}), Err("unsupported fieldPath: spec.no")),
        (json!({"resourceFieldRef": {"resource": "limits.cpu"}}), Ok("2")),
        (json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}), Ok("1500")),
        (json!({"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}), Ok("64")),
        (json!({"resourceFieldRef": {"resource": "limits.memory"}}), Ok("1073741824")),
        (json!({"configMapKeyRef": {"name": "m", "key": "A"}}), Ok("from map")),
        (json!({"configMapKeyRef": {"name": "m", "key": "no"}}), Err("couldn't find key no in ConfigMap n/m")),
        (json!({"configMapKeyRef": {"name": "absent", "key": "A"}}), Err("configmap \"absent\" not found")),
        (json!({"secretKeyRef": {"name": "s", "key": "S"}}), Ok("secret")),
        (json!({"secretKeyRef": {"name": "absent", "key": "S"}}), Err("secret \"absent\" not found")),
    ];
    for (source, expected) in rows {
        let env = make(json!({"env": [{"name": "V", "valueFrom": source}]}));
        let value = env.as_ref().map(|env| env.all["V"].as_str()).map_err(String::as_str);
        assert_eq!(value, expected, "{source}");
    }
    let optional = make(
        json!({"env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "no", "optional": true}}}]}),
    );
    assert!(!optional.unwrap().all.contains_key("V"));
}

#[test]
fn services_become_variables() {
    let service = json!({"metadata": {"name": "my-web"}, "spec": {"clusterIP": "10.1.0.1", "ports": [{"name": "http", "port": 80}]}});
    let headless = json!({"metadata": {"name": "none"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    let services: Vec<Service> = [service, headless].map(|value| serde_json::from_value(value).unwrap()).into();
    let env = service_env(&services);
    let rows = [
        ("MY_WEB_SERVICE_HOST", "10.1.0.1"),
        ("MY_WEB_SERVICE_PORT", "80"),
        ("MY_WEB_SERVICE_PORT_HTTP", "80"),
        ("MY_WEB_PORT", "tcp://10.1.0.1:80"),
        ("MY_WEB_PORT_80_TCP", "tcp://10.1.0.1:80"),
        ("MY_WEB_PORT_80_TCP_PROTO", "tcp"),
        ("MY_WEB_PORT_80_TCP_PORT", "80"),
        ("MY_WEB_PORT_80_TCP_ADDR", "10.1.0.1"),
    ];
    assert_eq!(env, rows.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn what_is_named_is_fetched() {
    let container = json!({"name": "c", "envFrom": [{"secretRef": {"name": "s"}}],
        "env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]});
    let needs = needs(&serde_json::from_value(container).unwrap());
    assert_eq!(needs, Needs { config_maps: ["m".to_owned()].into(), secrets: ["s".to_owned()].into() });
}

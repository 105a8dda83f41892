use base_image::{Digest, ImageConfig};
use serde_json::{Value, json};

use super::*;

fn image() -> Image {
    let config = ImageConfig {
        entrypoint: vec!["/app".to_owned()],
        cmd: vec!["default".to_owned()],
        user: "web".to_owned(),
        working_dir: "/srv".to_owned(),
        stop_signal: Some("SIGQUIT".to_owned()),
        ..ImageConfig::default()
    };
    let layer = base_image::Layer {
        digest: Digest::of(b"blob"),
        size: 4,
        diff_id: Digest::of(b"diff"),
        chain_id: Digest::of(b"chain"),
    };
    Image { digest: Digest::of(b"manifest"), config_digest: Digest::of(b"config"), config, layers: vec![layer] }
}

fn make(container: Value, pod: Value) -> Result<ContainerSpec, String> {
    let mut named = json!({"name": "c"});
    named.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut spec = json!({"containers": [named]});
    spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec})).unwrap();
    let own: BTreeMap<_, _> = [("A".to_owned(), "a".to_owned())].into();
    let mut all = own.clone();
    all.insert("PATH".to_owned(), "/bin".to_owned());
    make_spec(SpecInput {
        pod: &pod,
        container: &pod.spec.as_ref().unwrap().containers[0],
        image: &image(),
        hostname: "p".to_owned(),
        attempt: 2,
        image_id: "i@d",
        env: &Environment { all, own },
        mounts: Vec::new(),
        memory_bytes: 1 << 30,
    })
}

#[test]
fn commands_are_the_containers_or_the_images() {
    let rows = [
        (json!({}), vec!["/app", "default"]),
        (json!({"args": ["$(A)", "$(PATH)"]}), vec!["/app", "a", "$(PATH)"]),
        (json!({"command": ["/own"]}), vec!["/own"]),
        (json!({"command": ["/own"], "args": ["x"]}), vec!["/own", "x"]),
    ];
    for (container, expected) in rows {
        assert_eq!(make(container.clone(), json!({})).unwrap().command, expected, "{container}");
    }
}

#[test]
fn what_nobody_says_comes_from_the_image() {
    let spec = make(json!({}), json!({})).unwrap();
    assert_eq!(spec.id.as_str(), "u.c.2");
    assert_eq!(spec.layers[0].as_str(), Digest::of(b"chain").hex());
    assert_eq!((spec.working_dir.as_str(), spec.user.image_user.as_str(), spec.stop_signal), ("/srv", "web", 3));
    assert_eq!(spec.log.path.to_str(), Some("n_p_u/c/2.log"));
    assert_eq!(spec.limits, Limits::default());
    assert_eq!(spec.security, Security::default());
    assert_eq!(spec.oom_score_adj, Some(1000));
    assert_eq!(ContainerTag::parse(&spec.tag).unwrap().attempt, 2);
}

#[test]
fn the_container_overrules_the_pod() {
    let spec = make(
        json!({"securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}),
        json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": true, "fsGroup": 3, "supplementalGroups": [4]}}),
    )
    .unwrap();
    let user = UserSpec {
        image_user: "web".to_owned(),
        uid: Some(7),
        gid: Some(2),
        supplementary_groups: vec![4, 3],
        must_not_be_root: true,
    };
    assert_eq!(spec.user, user);
    assert!(spec.security.no_new_privileges && spec.security.is_root_read_only);
    assert_eq!(spec.security.capabilities, CapabilitySet::parse(&["NET_BIND_SERVICE".to_owned()]).unwrap());
    assert!(make(json!({"securityContext": {"capabilities": {"add": ["NO_SUCH"]}}}), json!({})).is_err());
}

#[test]
fn resources_become_limits() {
    let spec =
        make(json!({"resources": {"limits": {"memory": "64Mi", "cpu": "1"}, "requests": {"cpu": "250m"}}}), json!({}));
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        cpu_limit_millis: Some(1000),
        cpu_request_millis: Some(250),
        pids: None,
    };
    let spec = spec.unwrap();
    assert_eq!(spec.limits, limits);
    assert_eq!(spec.oom_score_adj, Some(938), "64 MiB of 1 GiB");
    let fixed = make(json!({"resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}), json!({})).unwrap();
    assert_eq!(fixed.oom_score_adj, Some(-997));
}

#[test]
fn signals_have_names_and_numbers() {
    let rows = [
        ("SIGTERM", Some(15)),
        ("INT", Some(2)),
        ("9", Some(9)),
        ("SIGRTMIN+3", Some(37)),
        ("65", None),
        ("SIGNO", None),
    ];
    for (text, expected) in rows {
        assert_eq!(signal_number(text), expected, "{text}");
    }
}

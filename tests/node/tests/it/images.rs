//! Images of the node: what goes when nobody needs it, what stays, and a pull that nobody waits for any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base_image::Reference;
use base_image::store::{Origin, Record};
use base_rt::Timestamp;
use cluster_workloads::node::builtin::Builtins;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::harness::{NODE, PATIENCE, Running, get, ip, is_ready, put_image, run, until};

fn pod(name: &str, image: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "args": ["serve", "8080"], "ports": [{"containerPort": 8080}],
        }],
    }})
}

/// The chain id of an image's uppermost layer.
fn top(node: &Running, record: &Record) -> String {
    node.store.image(record.digest).unwrap().layers.last().unwrap().chain_id.hex()
}

async fn layers(node: &Running) -> BTreeSet<String> {
    node.sandbox.layers().await.unwrap().iter().map(|layer| layer.as_str().to_owned()).collect()
}

async fn until_gone(node: &Running, layer: &str) {
    until("the layer's end", async || (!layers(node).await.contains(layer)).then_some(())).await;
}

#[test]
fn what_nobody_needs_goes_once_its_image_is_removed() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let names = ["used", "kept", "unused", "last"].map(|name| format!("test.example/{name}:1"));
        let images = names.clone().map(|name| put_image(&node.store, &name, Some(&name)));
        let [used, kept, unused, last] = images.each_ref().map(|record| top(&node, record));
        for name in ["kept", "unused", "last"] {
            ground.create(pod(name, &format!("test.example/{name}:1"))).await;
            ground.eventually(name, "readiness", is_ready).await;
            ground.delete(name).await;
        }
        ground.create(pod("used", &names[0])).await;
        let running = ground.eventually("used", "readiness", is_ready).await;
        let remove = |name: &str| node.store.remove_image(&name.parse().unwrap()).unwrap();
        assert!(remove(&names[0]) && remove(&names[2]));
        until_gone(&node, &unused).await;
        let present = layers(&node).await;
        assert!(present.contains(&used) && present.contains(&kept), "one runs, one is somebody's image");
        assert_eq!(get(&ip(&running), 8080, "/file/text"), names[0]);
        ground.delete("used").await;
        assert!(remove(&names[3]));
        until_gone(&node, &last).await;
        assert!(!layers(&node).await.contains(&used), "no container is left");
        // What stayed starts as before, and what was removed can be put here again.
        put_image(&node.store, &names[2], Some(&names[2]));
        for name in ["kept", "unused"] {
            ground.create(pod(name, &format!("test.example/{name}:1"))).await;
            ground.eventually(name, "readiness", is_ready).await;
            ground.delete(name).await;
        }
        node.stop().await;
        ground
    });
}

/// A small file system, full, in front of a directory.
struct Full(PathBuf);

impl Full {
    fn before(directory: &Path) -> Self {
        mount("none", directory, "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
        let full = Self(directory.to_owned());
        std::fs::write(directory.join("fill"), [1; 60 << 10]).unwrap();
        full
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn far(name: &str) -> Reference {
    format!("far.example/{name}:1").parse().unwrap()
}

/// Gives an image of somebody's a second name under which it was pulled long ago, and takes the first away.
fn make_pulled(node: &Running, name: &str) {
    let mine = format!("test.example/{name}:1").parse().unwrap();
    let digest = node.store.record(&mine).unwrap().digest;
    node.store.set_record(&far(name), digest, Origin::Pulled, Timestamp::UNIX_EPOCH).unwrap();
    assert!(node.store.remove_image(&mine).unwrap());
}

#[test]
fn a_disk_nearly_full_costs_what_was_pulled_and_nobody_needs() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        let image = |name: &str| format!("test.example/{name}:1");
        let [old, needed, own] =
            ["old", "needed", "own"].map(|name| top(&node, &put_image(&node.store, &image(name), Some(name))));
        for name in ["old", "needed", "own"] {
            ground.create(pod(name, &image(name))).await;
            ground.eventually(name, "readiness", is_ready).await;
        }
        ground.delete("old").await;
        ground.delete("own").await;
        for name in ["old", "needed"] {
            make_pulled(&node, name);
        }
        let full = Full::before(&ground.config.volumes_dir);
        // Something is removed, so that it is looked now.
        put_image(&node.store, &image("removed"), Some("removed"));
        assert!(node.store.remove_image(&image("removed").parse().unwrap()).unwrap());
        until_gone(&node, &old).await;
        drop(full);
        let present = layers(&node).await;
        assert!(present.contains(&needed) && present.contains(&own), "one runs, one is somebody's image");
        assert!(node.store.record(&far("old")).is_none() && node.store.record(&far("needed")).is_some());
        ground.delete("needed").await;
        node.stop().await;
        ground
    });
}

#[test]
fn a_deletion_does_not_wait_for_a_pull() {
    run(async |ground| {
        let node = ground.node(Builtins::default()).await;
        // A registry that takes connections and never answers.
        let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let image = format!("{}/slow:1", registry.local_addr().unwrap());
        ground.create(pod("slow", &image)).await;
        let asked = tokio::time::timeout(PATIENCE, registry.accept()).await.expect("the registry is asked").unwrap();
        ground.delete("slow").await;
        drop(asked);
        node.stop().await;
        ground
    });
}

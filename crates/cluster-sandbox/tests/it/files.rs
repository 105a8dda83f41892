//! Files that the client hands over for a pod: whose they are, who reads them, and that a change is seen.

use std::fs;

use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{ContainerSpec, Mount, MountSource, PodFile, PodFiles};

use super::harness::{container, mount, pod_id, refusal, run, volume_name};

const GROUP: u32 = 777;
const USER: u32 = 4242;

/// Files of the pod: path, content, mode, owner.
fn files(group: Option<u32>, files: &[(&str, &str, u32, u32)]) -> PodFiles {
    let file = |content: &str, mode, owner| PodFile { content: content.as_bytes().to_vec(), mode, owner };
    let files = files.iter().map(|(path, content, mode, owner)| ((*path).to_owned(), file(content, *mode, *owner)));
    PodFiles { pod: pod_id("pod"), name: volume_name("s"), group, files: files.collect(), mount_points: [].into() }
}

/// A container of an unprivileged user that has the files at `/s`.
fn reader(name: &str, groups: &[u32], words: &[&str]) -> ContainerSpec {
    let mut spec = container("pod", name, words);
    spec.user.uid = Some(USER);
    spec.user.supplementary_groups = groups.to_vec();
    spec.mounts.push(shown("/s"));
    spec
}

fn shown(target: &str) -> Mount {
    mount(target, MountSource::Files(volume_name("s")))
}

/// What a running container sees.
fn seen(pid: i32, path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/root{path}")).ok()
}

#[test]
fn owner_group_and_mode_say_who_reads_them() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let wanted = files(
                Some(GROUP),
                &[("dir/secret", "x", 0o440, 0), ("own", "y", 0o600, USER), ("root", "z", 0o400, 0)],
            );
            instance.sandbox.write_files(wanted).await.unwrap();
            let words = ["read", "/s/dir/secret", "/s/own", "/s/root"];
            let (said, _) = instance.output(&reader("member", &[GROUP], &words)).await;
            let denied = "error: Permission denied (os error 13)";
            assert_eq!(said, format!("/s/dir/secret=x\n/s/own=y\n/s/root={denied}\n"));
            let (said, _) = instance.output(&reader("stranger", &[], &words)).await;
            assert_eq!(said, format!("/s/dir/secret={denied}\n/s/own=y\n/s/root={denied}\n"));
            let facts = [("/s", "2755 0 777"), ("/s/dir", "2755 0 777"), ("/s/own", "600 4242 777")];
            for (number, (path, expected)) in facts.into_iter().enumerate() {
                let (said, _) = instance.output(&reader(&format!("stat-{number}"), &[], &["stat", path])).await;
                assert_eq!(said, format!("{expected}\n"), "{path}");
            }
        },
    );
}

#[test]
fn a_change_is_seen_by_who_runs() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            instance.sandbox.write_files(files(None, &[("a", "1", 0o644, 0), ("b", "1", 0o644, 0)])).await.unwrap();
            let pid = instance.start(&reader("a", &[], &["sleep"])).await.pid;
            assert_eq!((seen(pid, "/s/a"), seen(pid, "/s/b")), (Some("1".to_owned()), Some("1".to_owned())));
            instance.sandbox.write_files(files(None, &[("a", "2", 0o644, 0), ("c/d", "2", 0o644, 0)])).await.unwrap();
            let now = ["/s/a", "/s/b", "/s/c/d"].map(|path| seen(pid, path));
            assert_eq!(now, [Some("2".to_owned()), None, Some("2".to_owned())]);
        },
    );
}

#[test]
fn nobody_in_a_container_changes_them() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            instance.sandbox.write_files(files(None, &[("a", "1", 0o666, 0)])).await.unwrap();
            for (name, path) in [("new", "/s/new"), ("old", "/s/a")] {
                let mut spec = container("pod", name, &["write", path, "x"]);
                spec.mounts.push(shown("/s"));
                let (said, _) = instance.output(&spec).await;
                assert!(said.contains("Read-only file system"), "{said}");
            }
        },
    );
}

#[test]
fn parts_of_them_are_mounted_and_others_inside_them() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut wanted = files(None, &[("dir/key", "value", 0o644, 0)]);
            wanted.mount_points = ["inside/deep".to_owned()].into();
            instance.sandbox.write_files(wanted).await.unwrap();
            let mut spec = container("pod", "a", &["read", "/one", "/s/dir/key", "/s/inside/deep/dir/key"]);
            let one = Mount { sub_path: Some("dir/key".to_owned()), ..shown("/one") };
            spec.mounts = vec![one, shown("/s"), shown("/s/inside/deep")];
            let (said, _) = instance.output(&spec).await;
            assert_eq!(said, "/one=value\n/s/dir/key=value\n/s/inside/deep/dir/key=value\n");
        },
    );
}

#[test]
fn what_is_refused_leaves_nothing() {
    run(
        |_| {},
        async |instance| {
            let one = || files(None, &[("a", "1", 0o644, 0)]);
            assert_eq!(refusal(instance.sandbox.write_files(one()).await).0, RefusalCode::NotFound);
            instance.isolated_pod("pod").await;
            let small = instance.config.run_dir.join("pods/pod");
            let names =
                || -> Vec<_> { fs::read_dir(&small).unwrap().flatten().map(|entry| entry.file_name()).collect() };
            let before = names();
            let up = files(None, &[("../a", "1", 0o644, 0)]);
            assert_eq!(refusal(instance.sandbox.write_files(up).await).0, RefusalCode::Invalid);
            let both = files(None, &[("a", "file", 0o644, 0), ("a/b", "and directory", 0o644, 0)]);
            assert_eq!(refusal(instance.sandbox.write_files(both).await).0, RefusalCode::Failed);
            assert_eq!(names(), before);
            assert!(instance.sandbox.start_container(&reader("a", &[], &["sleep"])).await.is_err(), "there are none");
            instance.sandbox.write_files(one()).await.unwrap();
            instance.start(&reader("b", &[], &["sleep"])).await;
        },
    );
}

//! Output on disk: whole, in order, bounded, readable by the owner's group.

use std::os::unix::fs::MetadataExt;

use cluster_sandbox::{Event, RefusalCode};

use super::harness::{PATIENCE, container, eventually, refusal, run};

#[test]
fn nothing_is_lost_and_files_rotate() {
    run(
        |config| config.owner.gid = 54321,
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let mut spec = container("pod", "a", &["sequence", "20000"]);
            spec.log.path = "pods/a/0.log".into();
            spec.log.max_bytes = 256 << 10;
            spec.log.max_files = 10;
            instance.start(&spec).await;
            let mut rotations = 0;
            let exit = loop {
                match tokio::time::timeout(PATIENCE, instance.events.next()).await.unwrap().unwrap() {
                    Event::ContainerExited { exit, .. } => break exit,
                    Event::LogRotated { path, .. } => {
                        assert_eq!(path, instance.config.logs_dir.join("pods/a/0.log"));
                        rotations += 1;
                    }
                    event => panic!("{event:?}"),
                }
            };
            assert_eq!(exit.code, 0);
            assert!((3..10).contains(&rotations), "{rotations}");
            let read =
                |name: String| std::fs::read_to_string(instance.config.logs_dir.join("pods/a").join(name)).unwrap();
            let all: String = (1..=rotations)
                .rev()
                .map(|number| read(format!("0.log.{number}")))
                .chain([read("0.log".to_owned())])
                .collect();
            let numbers: Vec<u32> = all.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            assert_eq!(numbers, (0..20000).collect::<Vec<_>>());
            let file = std::fs::metadata(instance.config.logs_dir.join("pods/a/0.log")).unwrap();
            assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o640, 0, 54321));
        },
    );
}

#[test]
fn logs_are_removed_when_told() {
    run(
        |_| {},
        async |mut instance| {
            instance.isolated_pod("pod").await;
            let logs = instance.config.logs_dir.clone();
            let names = |directory: &str| {
                let entries = std::fs::read_dir(logs.join(directory)).unwrap();
                let mut names: Vec<_> =
                    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                names.sort();
                names
            };
            let remove = async |instance: &super::harness::Instance, path: &str| {
                instance.sandbox.remove_logs(std::path::Path::new(path)).await
            };
            for number in 0..2 {
                // More than a pipe holds, so that it comes in several pieces, and each fills a file.
                let mut spec = container("pod", &format!("a{number}"), &["sequence", "20000"]);
                spec.log.path = format!("one/a/{number}.log").into();
                spec.log.max_bytes = 64 << 10;
                spec.log.max_files = 2;
                instance.output(&spec).await;
            }
            assert_eq!(names("one/a"), ["0.log", "0.log.1", "1.log", "1.log.1"]);
            remove(&instance, "one/a/0.log").await.unwrap();
            assert_eq!(names("one/a"), ["1.log", "1.log.1"]);
            let mut living = container("pod", "b", &["sleep"]);
            living.log.path = "one/b/0.log".into();
            instance.start(&living).await;
            assert_eq!(refusal(remove(&instance, "one").await).0, RefusalCode::Busy);
            instance.sandbox.kill(&living.id).await.unwrap();
            instance.exit(&living.id).await;
            remove(&instance, "one").await.unwrap();
            remove(&instance, "one").await.expect("what is not there is fine");
            assert!(!logs.join("one").exists());
            eventually("the removal", || names("").is_empty()).await;
            for path in ["..", "/etc", "a/../..", ""] {
                assert_eq!(refusal(remove(&instance, path).await).0, RefusalCode::Invalid, "{path}");
            }
        },
    );
}

#[test]
fn a_log_cannot_leave_its_directory() {
    run(
        |_| {},
        async |instance| {
            instance.isolated_pod("pod").await;
            let outside = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(outside.path(), instance.config.logs_dir.join("link")).unwrap();
            let mut spec = container("pod", "a", &["echo", "x"]);
            spec.log.path = "link/a.log".into();
            assert!(instance.sandbox.start_container(&spec).await.is_err());
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        },
    );
}

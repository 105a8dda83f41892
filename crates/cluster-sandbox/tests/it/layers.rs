//! Layers: unpacked by a child without a way out, used, removed.

use std::fs;

use base_image::Digest;
use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{LayerName, UnpackSpec};

use super::harness::{FIXTURE, container, refusal, run};

/// An uncompressed archive with the given files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000755");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn layer(blob: &str, content: &[u8]) -> UnpackSpec {
    let digest = Digest::of(content);
    // The lowest layer's chain id is its diff id.
    UnpackSpec {
        blob: blob.into(),
        digest,
        size: content.len() as u64,
        diff_id: digest,
        chain_id: digest,
        below: vec![],
    }
}

#[test]
fn a_layer_is_unpacked_once_and_runs() {
    run(
        |_| {},
        async |mut instance| {
            let content = archive(&[("fixture", &fs::read(FIXTURE).unwrap()), ("note", b"unpacked")]);
            fs::write(instance.config.blobs_dir.join("blob"), &content).unwrap();
            let spec = layer("blob", &content);
            let (one, other) = tokio::join!(instance.sandbox.unpack(&spec), instance.sandbox.unpack(&spec));
            one.unwrap();
            other.unwrap();
            fs::remove_file(instance.config.blobs_dir.join("blob")).unwrap();
            instance.sandbox.unpack(&spec).await.expect("it is there already");
            let name = LayerName::try_new(spec.chain_id.hex()).unwrap();
            assert_eq!(instance.sandbox.layers().await.unwrap(), std::slice::from_ref(&name));
            instance.isolated_pod("pod").await;
            let mut container = container("pod", "a", &["read", "/note"]);
            container.layers = vec![name.clone()];
            container.command[0] = "/fixture".to_owned();
            assert_eq!(instance.output(&container).await.0, "/note=unpacked\n");
            container.id = super::harness::container_id("b");
            container.command = vec!["/fixture".into(), "sleep".into()];
            instance.start(&container).await;
            assert_eq!(refusal(instance.sandbox.remove_layer(&name).await).0, RefusalCode::Busy);
            instance.sandbox.kill(&container.id).await.unwrap();
            instance.exit(&container.id).await;
            instance.sandbox.remove_layer(&name).await.unwrap();
            assert!(instance.sandbox.layers().await.unwrap().is_empty());
            assert_eq!(refusal(instance.sandbox.remove_layer(&name).await).0, RefusalCode::NotFound);
        },
    );
}

#[test]
fn a_link_does_not_lead_the_unpacker_to_what_is_not_the_clients() {
    run(
        |config| config.owner.uid = 54321,
        async |instance| {
            let content = archive(&[("file", b"of root")]);
            let elsewhere = tempfile::tempdir().unwrap();
            fs::write(elsewhere.path().join("blob"), &content).unwrap();
            fs::remove_dir(&instance.config.blobs_dir).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), &instance.config.blobs_dir).unwrap();
            let spec = layer("blob", &content);
            let (_, message) = refusal(instance.sandbox.unpack(&spec).await);
            assert!(message.contains("not the client's own"), "{message}");
            std::os::unix::fs::chown(elsewhere.path().join("blob"), Some(54321), None).unwrap();
            instance.sandbox.unpack(&spec).await.unwrap();
        },
    );
}

#[test]
fn a_bad_blob_is_refused_and_leaves_nothing() {
    run(
        |_| {},
        async |instance| {
            let content = archive(&[("file", b"x")]);
            fs::write(instance.config.blobs_dir.join("blob"), &content).unwrap();
            let mut wrong = layer("blob", &content);
            wrong.digest = Digest::of(b"something else");
            let (code, message) = refusal(instance.sandbox.unpack(&wrong).await);
            assert!(code == RefusalCode::Failed && message.contains("sha256:"), "{message}");
            let (_, message) = refusal(instance.sandbox.unpack(&layer("absent", &content)).await);
            assert!(message.contains("opening the blob"), "{message}");
            std::os::unix::fs::symlink("/etc/passwd", instance.config.blobs_dir.join("link")).unwrap();
            let (_, message) = refusal(instance.sandbox.unpack(&layer("link", &content)).await);
            assert!(message.contains("opening the blob"), "{message}");
            let (_, message) = refusal(instance.sandbox.unpack(&layer(".", &content)).await);
            assert!(message.contains("not a plain relative path"), "{message}");
            assert!(instance.sandbox.layers().await.unwrap().is_empty());
        },
    );
}

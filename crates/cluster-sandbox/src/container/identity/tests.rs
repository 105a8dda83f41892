//! Users of images, by tables.

use std::fs;
use std::os::fd::AsFd;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:Web:/srv:/bin/false\n1000:x:7:8::/odd:\nbroken\n";
const GROUP: &str = "root:x:0:\nweb:x:44:\nlog:x:50:other,web\nssl:x:51:web\nbad:x:y:web\n";

fn of(image_user: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
    let (user, group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let found = lookup(user, group, PASSWD, GROUP).map_err(|refusal| refusal.message)?;
    Ok((found.uid, found.gid, found.groups, found.home))
}

#[test]
fn words_of_images() {
    assert_eq!(of(""), Ok((0, 0, vec![], "/root".into())));
    assert_eq!(of("web"), Ok((33, 44, vec![50, 51], "/srv".into())));
    assert_eq!(of("33"), Ok((33, 44, vec![50, 51], "/srv".into())));
    assert_eq!(of("web:log"), Ok((33, 50, vec![], "/srv".into())));
    assert_eq!(of("5:6"), Ok((5, 6, vec![], "/".into())));
    assert_eq!(of("5"), Ok((5, 0, vec![], "/".into())));
    assert_eq!(of("1000"), Ok((7, 8, vec![], "/odd".into())), "a name that looks like a number");
    assert_eq!(of("nobody"), Err("unable to find user nobody: no matching entries in passwd file".into()));
    assert_eq!(of("web:nogroup"), Err("unable to find group nogroup: no matching entries in group file".into()));
    assert!(of("broken").is_err());
}

#[test]
fn an_id_that_the_kernel_would_not_change_to_is_none() {
    for word in ["4294967295", "2147483648", "99999999999999999999", "0:4294967295"] {
        assert!(of(word).unwrap_err().contains("must be in range 0-2147483647"), "{word}");
    }
    assert_eq!(of("2147483647").map(|found| found.0), Ok(2_147_483_647));
    let passwd = "sly:x:4294967295:0::/:\nlow:x:5:4294967295::/:\nweb:x:33:44::/:\n";
    let group = "sly:x:4294967295:web\nlog:x:50:web\n";
    for user in ["sly", "low"] {
        assert_eq!(lookup(user, "", passwd, group).unwrap_err().code, RefusalCode::BadUser, "{user}");
    }
    assert!(lookup("web", "sly", passwd, group).is_err());
    assert_eq!(lookup("web", "", passwd, group).unwrap().groups, [50]);
}

#[test]
fn overrides_and_the_root_check() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), PASSWD).unwrap();
    fs::write(root.path().join("etc/group"), GROUP).unwrap();
    let top = fs::File::open(root.path()).unwrap();
    let tree = Tree::root(top.as_fd());
    let wanted = UserSpec { image_user: "web:ssl".into(), supplementary_groups: vec![9, 3, 9], ..UserSpec::default() };
    let found = resolve(tree, &wanted).unwrap();
    assert_eq!((found.uid, found.gid, found.groups), (33, 51, vec![3, 9]));
    let found = resolve(tree, &UserSpec { uid: Some(33), gid: Some(1), ..wanted.clone() }).unwrap();
    assert_eq!(
        (found.uid, found.gid, found.groups),
        (33, 1, vec![3, 9, 50, 51]),
        "the image's group is not the new user's"
    );
    let root_user = UserSpec { must_not_be_root: true, ..UserSpec::default() };
    assert_eq!(resolve(tree, &root_user).unwrap_err().code, RefusalCode::BadUser);
    fs::remove_dir_all(root.path().join("etc")).unwrap();
    assert_eq!(resolve(tree, &UserSpec { uid: Some(5), ..UserSpec::default() }).unwrap().uid, 5);
}

#[test]
fn a_file_of_users_may_be_anything() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/passwd")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("etc/group"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let top = fs::File::open(root.path()).unwrap();
    let found = resolve(Tree::root(top.as_fd()), &UserSpec::default()).unwrap();
    assert_eq!((found.uid, found.home.as_str()), (0, "/"));
}

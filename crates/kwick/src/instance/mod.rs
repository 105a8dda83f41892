//! One instance of Kwick on this machine: its data directory, its record of what was chosen once, its lock, its kubeconfig.
//!
//! ```text
//! DIR/VERSION        the layout; an older one is upgraded, a newer one refused  (layout.rs)
//! DIR/instance.json  what was chosen once: id, uid, addresses, network ranges; who wrote last   (record.rs)
//! DIR/lock           held by the running Kwick     DIR/pid   which process it is (lock.rs)
//! DIR/kubeconfig     0600, the invoking user's                                  (kubeconfig.rs)
//! DIR/pki            the instance's certificate authority, keys and tokens     (access.rs)
//! DIR/audit-policy.yaml  what is recorded of requests, as `kwick up` was told last
//! DIR/state          API objects         DIR/images   compressed images
//! DIR/volumes        what pods mount     these three are written by the unprivileged process
//! DIR/layers         unpacked images     DIR/pods     writable layers      DIR/logs   pods' logs: the spawner's
//! DIR/kwick.log      of a detached Kwick (a long one before it: kwick.log.1)      DIR/spawner.log
//! /run/kwick/ID      the spawner's socket; itself its lock
//! ```
//! The directory itself belongs to root. What root makes, it makes where nobody else can have put a link: not in those three.

pub(crate) mod access;
pub(crate) mod data_dir;
pub(crate) mod kubeconfig;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod ports;
pub(crate) mod record;
pub(crate) mod root;
pub(crate) mod spawner;

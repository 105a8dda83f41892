//! The certificate of a queue-proxy, from files that are replaced while it runs.
//!
//! Whether TLS is served is settled at the start: where both files are. From then on they are looked at again and again, and what has changed is
//! used from the next connection on; what cannot be used leaves the old one in place. The line in the log is Knative's, because clients look
//! for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_net::tls::{self, Certificates};
use base_rt::{Phase, Tasks, error_chain};

use super::LogSink;

/// Where the sidecar's certificate and key are mounted.
pub const CERTIFICATE_DIRECTORY: &str = "/var/lib/knative/certs";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(10);
const RELOADED: &[u8] = b"Certificate and/or key have changed on disk and were reloaded.\n";

/// Reads files, as the container sees them.
pub trait Files: Send + Sync {
    /// What a file holds; none if it is not there. Must not block for long.
    fn read(&self, path: &str) -> Option<Vec<u8>>;
}

impl<F: Fn(&str) -> Option<Vec<u8>> + Send + Sync> Files for F {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self(path)
    }
}

/// The certificate in use.
pub(super) struct Watched {
    files: Arc<dyn Files>,
    log: Arc<dyn LogSink>,
    certificates: Certificates,
    /// What was loaded last.
    loaded: Option<(Vec<u8>, Vec<u8>)>,
}

impl Watched {
    /// The certificate, if there is one; it is reloaded until the tasks' shutdown ends.
    pub(super) fn start(files: Arc<dyn Files>, log: Arc<dyn LogSink>, tasks: &Tasks) -> Option<Certificates> {
        let mut watched = Self { files, log, certificates: Certificates::default(), loaded: None };
        watched.pair()?;
        watched.look();
        let (certificates, shutdown) = (watched.certificates.clone(), tasks.shutdown().clone());
        tasks.spawn_transient("queue-proxy/certificate", async move {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.reached(Phase::Stopped) => return,
                    () = tokio::time::sleep(PERIOD) => watched.look(),
                }
            }
        });
        Some(certificates)
    }

    fn pair(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let read = |name: &str| self.files.read(&format!("{CERTIFICATE_DIRECTORY}/{name}"));
        read(CERTIFICATE).zip(read(KEY))
    }

    /// Uses what is there, if it is new.
    fn look(&mut self) {
        let Some(pair) = self.pair().filter(|pair| self.loaded.as_ref() != Some(pair)) else { return };
        match tls::certified_key(&pair.0, &pair.1) {
            Ok(certified) => {
                self.certificates.replace(BTreeMap::new(), Some(certified));
                self.log.write(RELOADED);
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "the certificate in the files cannot be used"),
        }
        self.loaded = Some(pair);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use base_net::pki::{Authority, Credentials, Subject};

    use super::*;

    #[test]
    fn what_has_changed_is_used_and_told_and_what_is_broken_is_not() {
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        let authority = Authority::generate("ca", now, 1).unwrap();
        let issue = || authority.issue(("", Subject::Server(&["a.example".to_owned()])), now, 1).unwrap();
        let held: Arc<Mutex<Option<Credentials>>> = Arc::default();
        let (files, told) = (Arc::clone(&held), Arc::new(Mutex::new(0)));
        let read = move |path: &str| {
            let held = files.lock().unwrap().clone()?;
            match path {
                "/var/lib/knative/certs/tls.crt" => Some(held.certificate_pem.into_bytes()),
                "/var/lib/knative/certs/tls.key" => Some(held.key_pem.into_bytes()),
                _ => None,
            }
        };
        let lines = Arc::clone(&told);
        let log = move |line: &[u8]| {
            assert_eq!(line, b"Certificate and/or key have changed on disk and were reloaded.\n");
            *lines.lock().unwrap() += 1;
        };
        let (handle, shutdown) = base_rt::Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let (files, log): (Arc<dyn Files>, Arc<dyn LogSink>) = (Arc::new(read), Arc::new(log));
        assert!(Watched::start(Arc::clone(&files), Arc::clone(&log), &tasks).is_none(), "nothing is mounted");
        let mut watched = Watched { files, log, certificates: Certificates::default(), loaded: None };
        let mut look = |pair: Option<Credentials>| {
            *held.lock().unwrap() = pair;
            watched.look();
            *told.lock().unwrap()
        };
        let (first, second) = (issue(), issue());
        assert_eq!(look(Some(first.clone())), 1);
        assert_eq!(look(Some(first.clone())), 1, "it is the same");
        assert_eq!(look(None), 1);
        assert_eq!(look(Some(Credentials { key_pem: second.key_pem.clone(), ..first })), 1, "they are no pair");
        assert_eq!(look(Some(second)), 2);
        drop(handle);
    }
}

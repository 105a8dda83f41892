//! The journal on disk: one SQLite file in WAL mode, `synchronous=FULL`, one connection, one transaction per batch.
//!
//! The connection holds the file exclusively, so a second process is refused instead of corrupting anything, and no shared-memory file is
//! needed. `PRAGMA user_version` is the data's version: an older file is upgraded step by step, a newer one is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::{Batch, Journal, JournalError, Record, Recovered, Threading};
use crate::store::key::{ObjectKey, Revision, TableName};

/// Marks the file as ours (`PRAGMA application_id`): "kwck".
const APPLICATION_ID: i64 = 0x6b77_636b;
/// Step *n* makes version *n+1* out of version *n*.
const UPGRADES: [&str; 1] = ["
    CREATE TABLE objects (
        resource  TEXT NOT NULL,
        key       TEXT NOT NULL,
        revision  INTEGER NOT NULL,
        shape     INTEGER NOT NULL,
        body      BLOB NOT NULL,
        PRIMARY KEY (resource, key)
    );
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"];

const PUT: &str = "INSERT INTO objects (resource, key, revision, shape, body) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (resource, key) DO UPDATE SET revision = ?3, shape = ?4, body = ?5";
const DELETE: &str = "DELETE FROM objects WHERE resource = ?1 AND key = ?2";
const SET_CEILING: &str =
    "INSERT INTO facts (name, value) VALUES ('ceiling', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1";

/// A journal in one SQLite file.
pub struct SqliteJournal {
    connection: Connection,
    path: PathBuf,
}

impl SqliteJournal {
    /// The newest data version; each step of [`UPGRADES`] leads to the next one.
    pub const VERSION: i64 = UPGRADES.len() as i64;

    /// Opens the file, or makes it, and upgrades it to the present version.
    ///
    /// # Errors
    /// The file is in use, newer than this program, damaged, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| sort_error("open", path, error))?;
        let mut journal = Self { connection, path: path.to_owned() };
        journal.prepare()?;
        Ok(journal)
    }

    fn prepare(&mut self) -> Result<(), JournalError> {
        self.run("open", |connection| connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE"))?;
        // Before anything is set: a file that is refused stays as it is.
        let version: i64 = self.pragma("user_version")?;
        let application: i64 = self.pragma("application_id")?;
        if version > Self::VERSION {
            return Err(JournalError::Newer { path: self.name(), found: version, known: Self::VERSION });
        }
        if version > 0 && application != APPLICATION_ID {
            return Err(self.damaged(format!("application id {application:#x}")));
        }
        self.run("set up", |connection| {
            connection.execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA cache_size = -512;
                 PRAGMA temp_store = MEMORY;",
            )
        })?;
        self.upgrade(version)
    }

    fn upgrade(&mut self, from: i64) -> Result<(), JournalError> {
        self.run("upgrade", |connection| {
            // An immediate transaction takes the exclusive lock even if there is nothing to upgrade.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (version, step) in (0_i64..).zip(UPGRADES).skip_while(|(version, _)| *version < from) {
                transaction.execute_batch(step)?;
                transaction.pragma_update(None, "user_version", version + 1)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            }
            transaction.commit()
        })
    }

    fn pragma(&mut self, name: &'static str) -> Result<i64, JournalError> {
        self.run("read", |connection| connection.pragma_query_value(None, name, |row| row.get(0)))
    }

    fn run<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        work(&mut self.connection).map_err(|error| sort_error(action, &self.path, error))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn damaged(&self, detail: String) -> JournalError {
        JournalError::Damaged { path: self.name(), detail }
    }
}

impl Journal for SqliteJournal {
    fn load(&mut self, sink: &mut dyn FnMut(Recovered)) -> Result<Revision, JournalError> {
        self.run("read", |connection| {
            let mut select = connection.prepare("SELECT resource, key, revision, shape, body FROM objects")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                sink(Recovered {
                    table: TableName::from(row.get_ref(0)?.as_str()?),
                    key: ObjectKey::from(row.get_ref(1)?.as_str()?),
                    revision: Revision(row.get::<_, i64>(2)?.cast_unsigned()),
                    shape: row.get::<_, i64>(3)?.cast_unsigned(),
                    body: row.get(4)?,
                });
            }
            let mut ceiling = connection.prepare("SELECT value FROM facts WHERE name = 'ceiling'")?;
            let mut rows = ceiling.query([])?;
            let value: i64 = rows.next()?.map_or(Ok(0), |row| row.get(0))?;
            Ok(Revision(value.cast_unsigned()))
        })
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), JournalError> {
        // Only the last write of each object matters to the file.
        let last: BTreeMap<(&TableName, &ObjectKey), &Record> =
            batch.records.iter().map(|record| ((&record.table, &record.object.key), record)).collect();
        self.run("write", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut put = transaction.prepare_cached(PUT)?;
                let mut delete = transaction.prepare_cached(DELETE)?;
                for ((table, key), Record { object, is_deletion, .. }) in last {
                    if *is_deletion {
                        delete.execute(params![table.as_str(), key.as_str()])?;
                        continue;
                    }
                    let (revision, shape) = (object.revision.0.cast_signed(), object.shape.cast_signed());
                    put.execute(params![table.as_str(), key.as_str(), revision, shape, object.body.as_ref()])?;
                }
                transaction.prepare_cached(SET_CEILING)?.execute([batch.ceiling.0.cast_signed()])?;
            }
            transaction.commit()
        })
    }

    fn threading(&self) -> Threading {
        Threading::OwnThread
    }
}

/// Makes the file, for the owner alone, if it is not there: Secrets stand in it. SQLite's other files get the same mode.
fn make_private(path: &Path) -> Result<(), JournalError> {
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(|_| ()).map_err(|error| JournalError::Io {
        action: "open",
        path: path.display().to_string(),
        source: Box::new(error),
    })
}

/// Says which of the few things a person can do something about an SQLite error is.
fn sort_error(action: &'static str, path: &Path, error: rusqlite::Error) -> JournalError {
    let name = path.display().to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse { path: name },
        // Without a code of SQLite's it is our reading that failed: a value is not of the type that was written.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) | None => {
            JournalError::Damaged { path: name, detail: error.to_string() }
        }
        _ => JournalError::Io { action, path: name, source: Box::new(error) },
    }
}

impl std::fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteJournal").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::store::object::{Labels, Stored};

    fn record(key: &str, revision: u64, is_deletion: bool) -> Record {
        let object = Stored {
            key: ObjectKey::from(key),
            revision: Revision(revision),
            shape: u64::MAX,
            labels: Labels::default(),
            body: bytes::Bytes::from_static(b"{}"),
        };
        Record { table: TableName::from("configmaps"), object: Arc::new(object), is_deletion }
    }

    fn load(journal: &mut SqliteJournal) -> (Vec<(String, u64, u64)>, u64) {
        let mut found = Vec::new();
        let ceiling = journal
            .load(&mut |object| found.push((object.key.to_string(), object.revision.0, object.shape)))
            .expect("load");
        (found, ceiling.0)
    }

    #[test]
    fn what_was_appended_is_there_after_opening_again() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("store.db");
        let mut journal = SqliteJournal::open(&path).expect("open");
        assert_eq!(load(&mut journal), (vec![], 0));
        let records =
            [record("a/x", 1, false), record("a/y", 2, false), record("a/x", 3, false), record("a/y", 4, true)];
        journal.append(&Batch { records: &records, ceiling: Revision(100) }).expect("append");
        journal.append(&Batch { records: &[], ceiling: Revision(150) }).expect("append");
        for file in ["store.db", "store.db-wal"] {
            let mode = std::fs::metadata(dir.path().join(file)).expect(file).permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        drop(journal);
        let mut journal = SqliteJournal::open(&path).expect("open");
        assert_eq!(load(&mut journal), (vec![("a/x".to_owned(), 3, u64::MAX)], 150));
    }

    #[test]
    fn a_second_process_a_newer_file_and_garbage_are_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("store.db");
        let first = SqliteJournal::open(&path).expect("open");
        assert!(matches!(SqliteJournal::open(&path), Err(JournalError::InUse { .. })));
        let newer = SqliteJournal::VERSION + 1;
        first.connection.pragma_update(None, "user_version", newer).expect("newer");
        // A newer program may keep its file in another way.
        first.connection.pragma_update(None, "journal_mode", "DELETE").expect("journal mode");
        drop(first);
        let kept = std::fs::read(&path).expect("read");
        let newer = SqliteJournal::open(&path).expect_err("newer");
        assert!(newer.to_string().contains("use the newer program"), "{newer}");
        assert_eq!(std::fs::read(&path).expect("read"), kept, "it was changed");
        let garbage = dir.path().join("garbage.db");
        std::fs::write(&garbage, vec![b'x'; 8192]).expect("write");
        assert!(matches!(SqliteJournal::open(&garbage), Err(JournalError::Damaged { .. })));
    }
}

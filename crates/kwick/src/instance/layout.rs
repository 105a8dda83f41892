//! The layouts of the data directory that there have been, and how a directory comes from one to the next.
//!
//! ```text
//! DIR/VERSION n ─► step to n+1 ─► DIR/VERSION n+1 ─► … ─► the newest
//! ```
//! A number names the form of everything that is kept, the store's included: who knows the number can read the directory, and an older Kwick
//! refuses a newer number before it has touched anything. A step that was killed is made again from its beginning. There is no way back.

use anyhow::{Context, Result};
use cluster_apiserver::store::journal::sqlite::SqliteJournal;

use super::data_dir::DataDir;
use crate::cli::remark;

/// Brings a directory from the layout before.
///
/// It may find its own work half done, or done, and then finishes it. It changes nothing that a running spawner holds: an instance's pods may
/// run while it is upgraded.
type Step = fn(&DataDir) -> Result<()>;

/// One layout.
struct Layout {
    /// The version of the store in it. The store makes its own steps when it is opened.
    store: i64,
    /// How a directory gets here.
    step: Step,
}

/// Layout *n* is in row *n - 1*. The first one no directory comes to: they begin with it.
const LAYOUTS: [Layout; 1] = [Layout { store: 1, step: |_| Ok(()) }];

/// The layout that this program writes.
pub(crate) const NEWEST: u32 = LAYOUTS.len() as u32;

const _: () = assert!(
    matches!(LAYOUTS.last(), Some(newest) if newest.store == SqliteJournal::VERSION),
    "a new version of the store needs a layout"
);

/// Brings the directory, which has been [checked](DataDir::check), to the newest layout. The caller holds its lock.
///
/// # Errors
/// A step fails, or the directory's number cannot be written. Trying again goes on from there.
pub(crate) fn upgrade(dir: &DataDir) -> Result<()> {
    upgrade_by(dir, &LAYOUTS)
}

fn upgrade_by(dir: &DataDir, layouts: &[Layout]) -> Result<()> {
    let present = dir.layout()?;
    for (number, layout) in (1_u32..).zip(layouts).skip_while(|(number, _)| *number <= present) {
        remark(format!("bringing {} to layout {number}", dir.path().display()));
        (layout.step)(dir)
            .and_then(|()| dir.set_layout(number))
            .with_context(|| format!("cannot bring {} to layout {number}", dir.path().display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use base_image::{OwnNames, Store};
    use cluster_apiserver::store::Journal as _;

    use super::*;
    use crate::instance::access;
    use crate::instance::record::Record;

    const EARLIER: [Layout; 3] = [
        Layout { store: 1, step: |_| panic!("no directory comes to the first layout") },
        Layout { store: 1, step: move_file },
        Layout { store: 1, step: mark },
    ];

    /// As a step should be: what is done already is not missed.
    fn move_file(dir: &DataDir) -> Result<()> {
        if dir.join("old").exists() {
            fs::copy(dir.join("old"), dir.join("new"))?;
            fs::remove_file(dir.join("old"))?;
        }
        Ok(())
    }

    /// Ends in its middle as long as there is something in its way.
    fn mark(dir: &DataDir) -> Result<()> {
        fs::write(dir.join("half"), "done")?;
        fs::create_dir(dir.join("other-half"))?;
        Ok(())
    }

    #[test]
    fn steps_are_made_once_each_and_a_step_that_ended_early_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        fs::write(dir.join("VERSION"), "1\n").unwrap();
        fs::write(dir.join("old"), "kept").unwrap();
        fs::write(dir.join("other-half"), "in the way").unwrap();
        let error = upgrade_by(&dir, &EARLIER).unwrap_err();
        assert!(error.to_string().contains("to layout 3"), "{error}");
        assert_eq!(dir.layout().unwrap(), 2, "the step that was done is not made again");
        assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "kept");
        fs::remove_file(dir.join("other-half")).unwrap();
        upgrade_by(&dir, &EARLIER).unwrap();
        assert_eq!(dir.layout().unwrap(), 3);
        assert!(dir.join("other-half").is_dir());
        // Now each step would fail.
        upgrade_by(&dir, &EARLIER).unwrap();
        assert!(dir.check().is_err(), "the program without these steps refuses it");
    }

    /// What was written by the Kwick of each layout is read by this one.
    #[test]
    fn every_layout_there_has_been_is_opened() {
        for number in 1..=NEWEST {
            let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/layouts/{number}"));
            let folder = tempfile::tempdir().unwrap();
            copy(&kept, &folder.path().join("data"));
            let dir = DataDir::at(&folder.path().join("data")).unwrap();
            assert_eq!(dir.layout().unwrap(), number);
            dir.check().unwrap();
            upgrade(&dir).unwrap();
            assert_eq!(dir.layout().unwrap(), NEWEST);
            let record = Record::load(&dir).unwrap().expect("a record");
            let authority = fs::read_to_string(dir.join("pki/ca.crt")).unwrap();
            assert_eq!(access::prepare(&dir, &record).unwrap().ca_pem, authority, "keys are not made anew");
            let mut objects = BTreeMap::new();
            let mut journal = SqliteJournal::open(&dir.join("state/api.db")).unwrap();
            let ceiling = journal
                .load(&mut |found| {
                    objects.insert(format!("{}/{}", found.table.as_str(), found.key.as_str()), found.revision);
                })
                .unwrap();
            for name in
                ["secrets/kept/kept", "keepsakes.example.com/kept/kept", "services.serving.knative.dev/kept/kept"]
            {
                assert!(objects.get(name).is_some_and(|revision| *revision <= ceiling), "{name}");
            }
            let images = Store::open(&dir.join("images"), OwnNames::new::<String>("registry", [])).unwrap();
            let names: Vec<String> = images.records().iter().map(|record| record.reference.to_string()).collect();
            assert!(names.iter().any(|name| name.ends_with("kept:latest")), "{names:?}");
        }
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            if path.is_dir() { copy(&path, &to.join(name)) } else { fs::copy(&path, to.join(name)).map(drop).unwrap() }
        }
    }
}

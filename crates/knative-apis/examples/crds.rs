//! Writes the CustomResourceDefinitions into a folder: what `cargo xtask crds` runs.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder? usage: crds FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    for (name, text) in knative_apis::crds::files() {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

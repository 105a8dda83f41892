//! Knative Serving's own control plane, unmodified, from its public modules (tools/knative): what the check of the cluster house installs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{build, sh};

const PROGRAMS: [&str; 5] = ["activator", "autoscaler", "controller", "queue", "webhook"];
/// Where the modules have what is installed. In Serving's repository the last two are links, which a module leaves out.
const CONFIGURATION: [(&str, &[&str]); 3] = [
    (
        "serving",
        &[
            "config/core",
            "config/core/200-roles",
            "config/core/300-resources",
            "config/core/configmaps",
            "config/core/webhooks",
            "config/core/deployments",
        ],
    ),
    ("networking", &["config"]),
    ("caching", &["config"]),
];
/// In the configuration, an image that ko is to build.
const KO: &str = "ko://knative.dev/serving/cmd/";

/// Builds the programs into `bin`, and lays beside it, in `crds` and `core`, what is applied; the programs' images are `knative/NAME` there.
pub(crate) fn build() -> Result<PathBuf> {
    let (tools, made) = (sh::root().join("tools/knative"), build::target()?.join("tools/knative"));
    for folder in ["bin", "crds", "core"].map(|folder| made.join(folder)) {
        // Nothing of another version stays.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    let mut go = sh::command("go", ["build", "-trimpath", "-ldflags", "-s -w", "-o"]);
    go.arg(made.join("bin")).args(PROGRAMS.map(|program| format!("knative.dev/serving/cmd/{program}")));
    sh::check(go.current_dir(&tools).env("CGO_ENABLED", "0"))?;
    for (number, file) in configuration(&tools)?.iter().enumerate() {
        let name = file.file_name().context("a file without a name")?.to_string_lossy();
        let text = fs::read_to_string(file)?.replace(KO, "knative/");
        let folder = if text.contains("kind: CustomResourceDefinition") { "crds" } else { "core" };
        fs::write(made.join(folder).join(format!("{number:03}-{name}")), text)?;
    }
    Ok(made)
}

/// The files of the configuration, in the order in which they are applied.
fn configuration(tools: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (module, folders) in CONFIGURATION {
        let module = format!("knative.dev/{module}");
        let args = ["-C", &tools.display().to_string(), "list", "-m", "-f", "{{.Dir}}", &module];
        let module = PathBuf::from(sh::output("go", args)?.trim());
        for folder in folders {
            files.extend(yaml_files(&module.join(folder))?);
        }
    }
    Ok(files)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

//! `kwick image pack`: an image of one layer, with a statically linked program and what it needs, without a Dockerfile or a daemon.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base_image::assemble::{AssembleError, ImageSpec, LayerTree, assemble_layout};
use base_image::import::Archive;
use base_image::media_type::Compression;
use base_image::{ImageConfig, Platform, Reference};
use clap::Args;

use super::{ImageError, Registry, program, reference};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kwick image pack ./hello --name hello --port 8080
  kwick image pack ./server --name shop/server:v2 --env MODE=production --file ./assets:/assets
  kwick image pack ./tool --name tool --user 65532 --entrypoint /tool --entrypoint serve")]
pub(crate) struct Pack {
    /// A statically linked program for this machine; it becomes /NAME in the image, and what is started.
    binary: PathBuf,
    /// What the image is called.
    #[arg(long, value_name = "REF", value_parser = reference)]
    name: Reference,
    /// What is started instead of the program alone: once for the program and once for each argument.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// A variable of its environment; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<String>,
    /// Whom it runs as, unless its Pod says otherwise [default: root]. A Pod with `runAsNonRoot` takes a number other than 0.
    #[arg(long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<String>,
    /// A TCP port that it listens on; may be repeated.
    #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// A file or directory to add, and its absolute path in the image; may be repeated.
    #[arg(long = "file", value_name = "SOURCE:TARGET", value_parser = addition)]
    files: Vec<Addition>,
}

/// A file or directory to add.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Addition {
    source: PathBuf,
    target: String,
}

impl Pack {
    pub(super) async fn run(&self, registry: &Registry) -> Result<String, ImageError> {
        let failed = |source| ImageError::Program { binary: self.binary.clone(), source };
        let targets: Vec<&Path> = self.files.iter().map(|file| Path::new(&file.target)).collect();
        program::check(&self.binary, &targets).map_err(failed)?;
        let spec = self.spec()?;
        let dir = tempfile::tempdir().map_err(ImageError::Temporary)?;
        assemble_layout(dir.path(), &spec).map_err(ImageError::Assemble)?;
        let broken = |error| ImageError::Import { file: dir.path().to_owned(), source: Box::new(error) };
        let archive = Arc::new(Archive::open(dir.path()).map_err(broken)?);
        let mut lines = Vec::new();
        for image in archive.named_images(Some(&self.name)).map_err(broken)? {
            lines.push(registry.push("packed", &archive, &image).await?);
        }
        Ok(lines.join("\n"))
    }

    fn spec(&self) -> Result<ImageSpec, ImageError> {
        let file_name = self.binary.file_name().and_then(|name| name.to_str());
        let file_name = file_name.ok_or_else(|| ImageError::FileName { path: self.binary.clone() })?;
        let mut layer = LayerTree::new();
        layer.add_file(file_name, 0o755, &self.binary).map_err(ImageError::Assemble)?;
        for file in &self.files {
            file.add_to(&mut layer).map_err(ImageError::Assemble)?;
        }
        let entrypoint =
            if self.entrypoint.is_empty() { vec![format!("/{file_name}")] } else { self.entrypoint.clone() };
        let config = ImageConfig {
            platform: Platform::host(),
            entrypoint,
            env: self.environment.clone(),
            user: self.user.clone().unwrap_or_default(),
            exposed_ports: self.ports.iter().map(|port| format!("{port}/tcp")).collect(),
            ..ImageConfig::default()
        };
        Ok(ImageSpec { config, layers: vec![layer], compression: Compression::Zstd })
    }
}

impl Addition {
    fn add_to(&self, layer: &mut LayerTree) -> Result<(), AssembleError> {
        let failed = |source: io::Error| AssembleError::Source { path: self.source.clone(), source };
        let metadata = fs::metadata(&self.source).map_err(failed)?;
        if metadata.is_dir() {
            return layer.add_tree(self.target.trim_end_matches('/'), &self.source);
        }
        let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        layer.add_file(&self.target, mode, &self.source)
    }
}

fn addition(text: &str) -> Result<Addition, String> {
    match text.rsplit_once(':') {
        Some((source, target)) if !source.is_empty() && target.len() > 1 && target.starts_with('/') => {
            Ok(Addition { source: source.into(), target: target.to_owned() })
        }
        _ => Err("write it as SOURCE:TARGET with an absolute TARGET, such as ./assets:/assets".to_owned()),
    }
}

fn user(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let is_right = is_number(uid) && gid.is_none_or(is_number);
    is_right.then(|| text.to_owned()).ok_or_else(|| "write it as UID or UID:GID, such as 65532".to_owned())
}

fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

//! What cargo knows about this workspace: where it is, its packages, their features and how they depend on each other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, output};

/// The workspace as `cargo metadata` tells it.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds, `CARGO_TARGET_DIR` and configuration considered.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder below the root, with `/` between the parts.
    pub(crate) folder: String,
    /// All its features but `default`.
    pub(crate) features: Vec<String>,
    /// Names of its binaries.
    pub(crate) binaries: Vec<String>,
    /// What it takes from this workspace; dependencies from a registry are not listed.
    pub(crate) internal: Vec<Internal>,
}

/// A dependency of one member on another.
pub(crate) struct Internal {
    /// The other's folder.
    pub(crate) folder: String,
    /// Whether only tests and examples use it.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo refuses, usually because a manifest does not parse.
    pub(crate) fn load() -> Result<Self> {
        let text = output(&mut cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
        let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` wrote something else than JSON")?;
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let packages = list(metadata, "packages")?
            .iter()
            .map(|package| Package::from_metadata(package, &root))
            .collect::<Result<_>>()?;
        Ok(Self {
            target: text(metadata, "target_directory")?.into(),
            packages,
            root,
        })
    }

    /// The member with this package name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .with_context(|| format!("the workspace has no package `{name}`"))
    }
}

impl Package {
    fn from_metadata(package: &Value, root: &Path) -> Result<Self> {
        let manifest = Path::new(text(package, "manifest_path")?);
        let features = package["features"]
            .as_object()
            .context("a package without `features`")?;
        let mut binaries = Vec::new();
        for target in list(package, "targets")? {
            if list(target, "kind")?.iter().any(|kind| kind == "bin") {
                binaries.push(text(target, "name")?.to_owned());
            }
        }
        let mut internal = Vec::new();
        for dependency in list(package, "dependencies")? {
            if let Some(path) = dependency["path"].as_str() {
                internal.push(Internal {
                    folder: below(root, Path::new(path)),
                    dev: dependency["kind"] == "dev",
                });
            }
        }
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            folder: below(root, manifest.parent().context("a manifest without a folder")?),
            features: features.keys().filter(|name| *name != "default").cloned().collect(),
            binaries,
            internal,
        })
    }
}

/// The path as seen from the root, the same on every platform.
pub(crate) fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("`cargo metadata` gave no text for `{key}`"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("`cargo metadata` gave no list for `{key}`"))
}

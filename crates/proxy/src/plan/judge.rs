//! Gathers problems during the check, with the places that the configuration remembers.

use std::path::{Path, PathBuf};

use crate::config::{ConfigErrors, Origin, Problem, ProxyConfig, sort};
pub(super) use crate::config::{list, nearest, shortened};

/// What was found so far.
pub(super) struct Judge<'c> {
    origin: &'c Origin,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'c> Judge<'c> {
    pub(super) fn new(config: &'c ProxyConfig) -> Self {
        Self {
            origin: &config.origin,
            errors: Vec::new(),
            warnings: config.origin.warnings.clone(),
        }
    }

    /// Refuses the value of a key, unless it was refused before.
    pub(super) fn value(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.origin.places.is_spoiled(path) {
            self.errors.push(self.origin.places.at_value(path, message, remedy));
        }
    }

    /// Refuses that a key is there, or that it is not.
    pub(super) fn key(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.origin.places.is_spoiled(path) {
            self.errors.push(self.origin.places.at_key(path, message, remedy));
        }
    }

    /// Doubts the value of a key.
    pub(super) fn doubt(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if !self.origin.places.is_spoiled(path) {
            self.warnings.push(self.origin.places.at_value(path, message, remedy));
        }
    }

    /// Whether the value was refused before: what follows from it is not worth a message.
    pub(super) fn is_spoiled(&self, path: &str) -> bool {
        self.origin.places.is_spoiled(path)
    }

    /// Where a key was written, for people.
    pub(super) fn place(&self, path: &str) -> Option<String> {
        let place = self.origin.places.value(path)?;
        Some(place.to_string())
    }

    /// The path, counted from the folder of the configuration.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.origin.folder.join(path)
    }

    /// The file, which must exist.
    pub(super) fn file(&mut self, key: &str, path: &Path) -> PathBuf {
        let resolved = self.resolve(path);
        if path.as_os_str().is_empty() {
            self.value(key, "the path is empty", "name a file, or delete the key");
        } else if !resolved.is_file() {
            let message = match resolved.is_dir() {
                true => format!("`{}` is a folder, not a file", path.display()),
                false => format!("the file `{}` does not exist", path.display()),
            };
            self.value(
                key,
                message,
                "name a file; the path is relative to the folder of the configuration",
            );
        }
        resolved
    }

    /// The folder, which must exist.
    pub(super) fn folder(&mut self, key: &str, path: &Path) -> PathBuf {
        let resolved = self.resolve(path);
        if !resolved.is_dir() {
            let message = format!("the folder `{}` does not exist", path.display());
            self.value(
                key,
                message,
                "name a folder; the path is relative to the folder of the configuration",
            );
        }
        resolved
    }

    /// The warnings.
    ///
    /// # Errors
    /// The errors, when there are some.
    pub(super) fn finish(mut self) -> Result<Vec<Problem>, ConfigErrors> {
        if !self.errors.is_empty() {
            return Err(ConfigErrors::new(self.errors));
        }
        sort(&mut self.warnings);
        Ok(self.warnings)
    }
}

/// A remedy: what was probably meant, or all there is.
pub(super) fn choose(given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("choose one of {}", list(known)),
    }
}

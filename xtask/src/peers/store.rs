//! Where the parts live: below `target/peers`, or in a shared folder and only linked from there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The folders of the peers, locked for as long as this lives.
pub(crate) struct Store {
    /// The folder of the locks, `xtask/peers`.
    pub(crate) locks: PathBuf,
    /// `target/peers`.
    home: PathBuf,
    /// `MCP_PROXY_PEERS_CACHE`.
    cache: Option<PathBuf>,
    /// Whether parts may be added to the cache; it may be mounted for reading only.
    cache_grows: bool,
    /// Two runs at once (or two clones with one cache) would delete each other's files.
    _guard: File,
}

/// Names the shared folder.
const CACHE: &str = "MCP_PROXY_PEERS_CACHE";

impl Store {
    /// Makes the folders, and waits until no other run uses them.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn open(workspace: &Workspace) -> Result<Self> {
        let home = workspace.target.join("peers");
        let cache = std::env::var_os(CACHE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        if let Some(cache) = &cache
            && cache.is_relative()
        {
            anyhow::bail!("{CACHE} is the relative path {}; give an absolute one", cache.display());
        }
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let shared = cache.as_ref().and_then(|cache| lock_file(cache).ok());
        let cache_grows = shared.is_some();
        let guard = match shared {
            Some(guard) => guard,
            None => lock_file(&home)?,
        };
        if guard.try_lock().is_err() {
            eprintln!("peers: another run is at work in the same folder, waiting for it");
            guard.lock()?;
        }
        Ok(Self {
            locks: workspace.root.join("xtask").join("peers"),
            home,
            cache,
            cache_grows,
            _guard: guard,
        })
    }

    /// The folder of one part, linked into `target/peers` when it lies elsewhere. It may not exist yet.
    pub(crate) fn folder(&self, part: &str, hash: &str) -> Result<PathBuf> {
        let here = self.home.join(part);
        let cached = self.cache.as_ref().map(|cache| cache.join(format!("{part}-{hash}")));
        match cached {
            Some(there) if self.cache_grows || there.is_dir() => {
                link(&here, &there);
                Ok(there)
            }
            _ => {
                if here.is_symlink() {
                    remove_link(&here)?; // left by a run with a cache
                }
                Ok(here)
            }
        }
    }

    /// What the installer of one part has to say.
    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.home.join(format!("{part}.log"))
    }

    /// An empty folder in which a program may be tried.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.home.join("scratch").join(name);
        let _ = fs::remove_dir_all(&folder); // it may not exist
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    pub(crate) fn inventory_file(&self) -> PathBuf {
        self.home.join("peers.json")
    }
}

fn lock_file(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    fs::create_dir_all(folder)
        .and_then(|()| File::create(&path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Only a comfort for people who look into `target/peers`: the tests take the true paths from the inventory.
fn link(here: &Path, there: &Path) {
    if here.is_symlink() {
        let _ = remove_link(here);
    } else if here.exists() {
        let _ = fs::remove_dir_all(here);
    }
    #[cfg(unix)]
    let _ = std::os::unix::fs::symlink(there, here);
    #[cfg(windows)]
    let _ = std::os::windows::fs::symlink_dir(there, here);
}

fn remove_link(link: &Path) -> Result<()> {
    fs::remove_file(link)
        .or_else(|_| fs::remove_dir(link)) // Windows links to folders are removed as folders
        .with_context(|| format!("cannot remove the link {}", link.display()))
}

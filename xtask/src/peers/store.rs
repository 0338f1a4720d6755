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
        let shared = cache.as_ref().unwrap_or(&home);
        fs::create_dir_all(shared).with_context(|| format!("cannot make {}", shared.display()))?;
        let path = shared.join("lock");
        let guard = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if guard.try_lock().is_err() {
            eprintln!("peers: another run is at work in {}, waiting for it", shared.display());
            guard.lock()?;
        }
        Ok(Self {
            locks: workspace.root.join("xtask").join("peers"),
            home,
            cache,
            _guard: guard,
        })
    }

    /// The folder of one part, linked into `target/peers` when it lies elsewhere. It may not exist yet.
    pub(crate) fn folder(&self, part: &str, hash: &str) -> Result<PathBuf> {
        let here = self.home.join(part);
        match &self.cache {
            None => {
                if here.is_symlink() {
                    remove_link(&here)?; // left by a run with a cache
                }
                Ok(here)
            }
            Some(cache) => {
                let there = cache.join(format!("{part}-{hash}"));
                link(&here, &there);
                Ok(there)
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

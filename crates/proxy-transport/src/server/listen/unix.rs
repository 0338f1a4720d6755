//! The unix socket: ours alone to connect to, never taken from somebody who still listens, gone when we are.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

/// A bound unix socket, unlinked when dropped.
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that we never unlink what a successor has put in our place.
    identity: Option<(u64, u64)>,
}

impl UnixSocket {
    pub(super) async fn bind(path: PathBuf) -> io::Result<Self> {
        let explain = |error: io::Error| {
            let message = format!("cannot listen on the unix socket {}: {error}", path.display());
            io::Error::new(error.kind(), message)
        };
        if let Ok(found) = std::fs::symlink_metadata(&path) {
            if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) {
                let error = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name; remove it");
                return Err(explain(error));
            }
            if UnixStream::connect(&path).await.is_ok() {
                let error = io::Error::new(io::ErrorKind::AddrInUse, "somebody is listening on it");
                return Err(explain(error));
            }
        }
        // Bound under another name, restricted, then renamed: at no moment could anybody else have connected. The
        // renaming also replaces a socket that was left behind.
        let fresh = fresh_name(&path);
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh).map_err(explain)?;
        let named = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(error) = named {
            let _ = std::fs::remove_file(&fresh);
            return Err(explain(error));
        }
        let identity = identity(&path);
        Ok(Self {
            listener,
            path,
            identity,
        })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener
            .poll_accept(cx)
            .map(|accepted| accepted.map(|(stream, _)| stream))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // What cannot be removed is found stale, and replaced, by whoever listens here next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A name beside `path`, short, since the path of a socket has little room (108 bytes on Linux).
fn fresh_name(path: &Path) -> PathBuf {
    let name = format!(".{}.new", std::process::id());
    path.with_file_name(name)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

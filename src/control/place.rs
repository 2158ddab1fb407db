//! Where the socket is, and how it is reached: the path of a Unix socket must be short, that of a store need not be.

use std::io;
use std::path::{Path, PathBuf};

use super::SOCKET_NAME;

/// The socket of the store in `folder`.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET_NAME)
}

/// Calls `act` with a path to the socket of the store in `folder` that is short enough for the system.
///
/// # Errors
/// What `act` answers, or why the folder cannot be opened.
pub(super) fn reach<T>(folder: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = socket(folder);
    if path.as_os_str().len() < PATH_SIZE_SAFE {
        return act(&path);
    }
    reach_far(folder, &path, act)
}

/// Bytes that fit into `sun_path` everywhere. Source: unix(7) has 108 with a final zero; the BSDs have 104.
const PATH_SIZE_SAFE: usize = 104;

/// Linux knows each open folder under a short name.
#[cfg(target_os = "linux")]
fn reach_far<T>(
    folder: &Path,
    _: &Path,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let opened = std::fs::File::open(folder)?;
    let short = format!("/proc/self/fd/{}/{SOCKET_NAME}", opened.as_raw_fd());
    act(Path::new(&short))
}

/// Elsewhere the system says that it is too long.
#[cfg(not(target_os = "linux"))]
fn reach_far<T>(_: &Path, path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    act(path)
}

//! Finds the user's command before any message is touched: a mistyped name must not fail every message in the queue.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Whether `name` can be run: as a path if it has a slash, else from a folder of `PATH`.
pub(crate) fn can_be_run(name: &OsStr) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    candidates(name, &folders)
        .iter()
        .any(|path| is_program(path))
}

fn candidates(name: &OsStr, folders: &OsStr) -> Vec<PathBuf> {
    if Path::new(name).components().count() > 1 || Path::new(name).is_absolute() {
        return vec![PathBuf::from(name)];
    }
    env::split_paths(folders)
        .map(|folder| folder.join(name))
        .collect()
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_in_each_folder() {
        let found = candidates(OsStr::new("sh"), OsStr::new("/bin:/usr/bin"));
        assert_eq!(
            found,
            [PathBuf::from("/bin/sh"), PathBuf::from("/usr/bin/sh")]
        );
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(
            candidates(OsStr::new("./x"), OsStr::new("/bin")),
            [PathBuf::from("./x")]
        );
        assert_eq!(
            candidates(OsStr::new("/x"), OsStr::new("/bin")),
            [PathBuf::from("/x")]
        );
    }

    #[test]
    fn a_folder_or_a_text_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "x").unwrap();
        assert!(!can_be_run(text.as_os_str()));
        assert!(!can_be_run(folder.path().as_os_str()));
        assert!(!can_be_run(OsStr::new("no-such-program-anywhere")));
        assert!(can_be_run(OsStr::new("sh")));
    }
}

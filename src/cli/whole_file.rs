//! Files that are written in one piece: a reader sees the old one or the new one, also after a crash.
#![allow(clippy::disallowed_methods, reason = "edge: writes files")]

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Writes `bytes` in the place of the file at `path`; `mode` is a new file's, less the umask.
pub(super) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Where it is written first: another process that writes the same file has another place.
fn beside(path: &Path) -> OsString {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_or_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        replace(&path, 0o640, b"one, and longer").unwrap();
        replace(&path, 0o640, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::create_dir(beside(&path)).unwrap();
        assert!(replace(&path, 0o640, b"three").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}

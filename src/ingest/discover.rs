//! Which captures the arguments mean: files as they are, folders searched for what begins like a capture, `-`.
#![allow(clippy::disallowed_methods, reason = "edge: looks into the folders the user names")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    compress,
    error::{SourceError, shown},
    pcap_file::is_capture,
};

/// One capture to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureInput {
    /// Where it is.
    pub place: Place,
    /// What records call it: the file's base name, its whole path when two inputs share a base name, `-` for
    /// standard input.
    pub capture: String,
    /// Size of the file; `None` for a pipe.
    pub bytes: Option<u64>,
}

/// Where a capture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard input.
    StandardInput,
    /// A file.
    Path(PathBuf),
}

/// What the arguments mean.
#[derive(Debug, Default)]
pub struct Found {
    /// The captures: in the order given, folders sorted by path, each file once.
    pub captures: Vec<CaptureInput>,
    /// What cannot be looked at, and folders that hold no capture; the rest can still be read.
    pub errors: Vec<SourceError>,
}

/// The captures that `arguments` mean.
///
/// Files named by the user are taken whatever they hold (reading says what is wrong with them); of a folder's files,
/// at any depth, those that begin like a capture, compressed or not, and those that cannot be opened to see.
pub fn discover(arguments: &[PathBuf]) -> Found {
    let mut places = Vec::new();
    let mut errors = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            places.push((Place::StandardInput, None));
            continue;
        }
        match fs::metadata(argument) {
            Err(cause) => errors.push(unopened(argument, cause)),
            Ok(meta) if meta.is_dir() => {
                let closed = errors.len();
                let found = search(argument, &mut errors);
                if found.is_empty() && errors.len() == closed {
                    errors.push(SourceError::NoCaptures { folder: shown(argument) });
                }
                places.extend(found.into_iter().map(|(path, bytes)| (Place::Path(path), bytes)));
            }
            Ok(meta) => places.push((Place::Path(argument.clone()), size_of(&meta))),
        }
    }
    Found { captures: name(once(places)), errors }
}

/// Captures in a folder and all below it, by path. Links to folders are not followed: they can go in circles.
fn search(folder: &Path, errors: &mut Vec<SourceError>) -> BTreeMap<PathBuf, Option<u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if let Err(cause) = look_into(&folder, &mut folders, &mut found) {
            errors.push(unopened(&folder, cause));
        }
    }
    found
}

fn look_into(
    folder: &Path,
    folders: &mut Vec<PathBuf>,
    found: &mut BTreeMap<PathBuf, Option<u64>>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            folders.push(path);
            continue;
        }
        // A link that leads nowhere is no capture; pipes and devices would block.
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_file() && begins_like_a_capture(&path) {
            found.insert(path, size_of(&meta));
        }
    }
    Ok(())
}

fn begins_like_a_capture(path: &Path) -> bool {
    let Ok(unpacked) = compress::open(path) else { return true };
    let mut head = Vec::with_capacity(4);
    let read = unpacked.bytes.take(4).read_to_end(&mut head);
    read.is_ok() && head.first_chunk().is_some_and(|magic| is_capture(*magic))
}

/// Leaves out what was named before.
fn once(places: Vec<(Place, Option<u64>)>) -> Vec<(Place, Option<u64>)> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::with_capacity(places.len());
    for (place, bytes) in places {
        let key = match &place {
            Place::StandardInput => None,
            Place::Path(path) => Some(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
        };
        if seen.insert(key) {
            kept.push((place, bytes));
        }
    }
    kept
}

fn name(places: Vec<(Place, Option<u64>)>) -> Vec<CaptureInput> {
    let mut uses = BTreeMap::<String, usize>::new();
    for (place, _) in &places {
        *uses.entry(base_name(place)).or_default() += 1;
    }
    let named = places.into_iter().map(|(place, bytes)| {
        let base = base_name(&place);
        let capture = match &place {
            Place::Path(path) if uses.get(&base).is_some_and(|uses| *uses > 1) => {
                path.to_string_lossy().into_owned()
            }
            _ => base,
        };
        CaptureInput { place, capture, bytes }
    });
    named.collect()
}

fn base_name(place: &Place) -> String {
    match place {
        Place::StandardInput => "-".to_owned(),
        Place::Path(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        }
    }
}

fn size_of(meta: &fs::Metadata) -> Option<u64> {
    meta.is_file().then_some(meta.len())
}

fn unopened(path: &Path, cause: io::Error) -> SourceError {
    SourceError::Open { file: shown(path), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{blocks::Order, check};

    /// Writes files into a new folder.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn captures(inputs: &[CaptureInput]) -> Vec<&str> {
        inputs.iter().map(|input| input.capture.as_str()).collect()
    }

    #[test]
    fn a_folder_gives_its_captures_by_path() {
        let pcap = check::pcap(Order::Little, 0xa1b2_c3d4, 1);
        let (gzip, zstd) = (check::gzip(&pcap), check::zstd(&pcap));
        let found = folder(&[
            ("b.bin", &pcap),
            ("a/z.pcapng", &[0x0a, 0x0d, 0x0d, 0x0a]),
            ("a/deep/er.txt", &gzip),
            ("c.zst", &zstd),
            ("notes.pcap", b"these are notes"),
            ("empty.pcap", b""),
            ("d.gz", &check::gzip(b"text")),
        ]);
        let inputs = discover(&[found.path().to_path_buf()]).captures;
        assert_eq!(captures(&inputs), ["er.txt", "z.pcapng", "b.bin", "c.zst"]);
        assert_eq!(inputs[2].bytes, Some(24));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_not_followed() {
        let pcap = check::pcap(Order::Little, 0xa1b2_c3d4, 1);
        let found = folder(&[("a.pcap", &pcap)]);
        std::os::unix::fs::symlink(found.path(), found.path().join("round")).unwrap();
        std::os::unix::fs::symlink("nowhere", found.path().join("broken")).unwrap();
        let inputs = discover(&[found.path().to_path_buf()]).captures;
        assert_eq!(captures(&inputs), ["a.pcap"]);
    }

    #[test]
    fn order_is_as_given_and_each_file_comes_once() {
        let pcap = check::pcap(Order::Little, 0xa1b2_c3d4, 1);
        let found = folder(&[("x/b.pcap", &pcap), ("x/a.pcap", &pcap), ("y/a.pcap", &pcap)]);
        let at = |name: &str| found.path().join(name);
        let inputs = discover(&[at("x/b.pcap"), "-".into(), at("x"), at("y"), "-".into()]).captures;
        let (x, y) = (at("x/a.pcap"), at("y/a.pcap"));
        let expected = ["b.pcap", "-", x.to_str().unwrap(), y.to_str().unwrap()];
        assert_eq!(captures(&inputs), expected);
        assert_eq!(inputs[1].place, Place::StandardInput);
        assert_eq!(inputs[1].bytes, None);
    }

    #[test]
    fn files_named_by_the_user_are_taken_whatever_they_hold() {
        let found = folder(&[("notes", b"notes")]);
        let inputs = discover(&[found.path().join("notes")]).captures;
        assert_eq!(captures(&inputs), ["notes"]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let found = folder(&[("notes", b"notes")]);
        let Found { captures: list, errors } =
            discover(&[found.path().to_path_buf(), found.path().join("a.pcap"), "-".into()]);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(captures(&list), ["-"], "the rest is still found");
        assert!(errors[0].contains("no capture file in this folder"), "{errors:?}");
        assert!(errors[1].contains("a.pcap: cannot be opened: No such file"), "{errors:?}");
    }
}

//! Reading an operator's folder.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FOLDER_BYTES_MAX, Files, file};

/// Folders below each other; more are a loop, or nothing for a web server.
const DEPTH_MAX: usize = 32;

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Something in it cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It does not fit into memory as it is meant to.
    #[error(
        "{path} holds more than {FOLDER_BYTES_MAX} bytes of files, which are kept in memory; serve large files with a web server"
    )]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
}

/// What tells a folder that has changed from one that has not: names, sizes and times of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// Looks at all files, and reads none.
    ///
    /// # Errors
    /// What cannot be looked at.
    pub fn of(root: &Path) -> Result<Print, SiteError> {
        let mut hasher = DefaultHasher::new();
        walk(root, &mut |path, metadata| {
            (path, metadata.len(), metadata.modified().ok()).hash(&mut hasher);
            Ok(())
        })?;
        Ok(Print(hasher.finish()))
    }
}

pub(super) fn read(root: &Path) -> Result<Files, SiteError> {
    let mut files = Files::new();
    let mut bytes_sum = 0;
    walk(root, &mut |path, metadata| {
        bytes_sum += metadata.len();
        if bytes_sum > FOLDER_BYTES_MAX {
            return Err(SiteError::TooLarge { path: root.into() });
        }
        // What has no name in UTF-8 has no path in a URL either.
        let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
            return Ok(());
        };
        let bytes = fs::read(path).map_err(failed(path))?;
        files.insert(name.into(), file(name, Arc::from(bytes)));
        Ok(())
    })?;
    Ok(files)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SiteError {
    move |error| SiteError::Read {
        path: path.into(),
        error,
    }
}

/// Calls `visit` for every file that is to be served, in the order of their names.
fn walk(
    root: &Path,
    visit: &mut impl FnMut(&Path, &Metadata) -> Result<(), SiteError>,
) -> Result<(), SiteError> {
    let real_root = root.canonicalize().map_err(failed(root))?;
    walk_below(root, &real_root, 0, visit)
}

fn walk_below(
    folder: &Path,
    real_root: &Path,
    depth: usize,
    visit: &mut impl FnMut(&Path, &Metadata) -> Result<(), SiteError>,
) -> Result<(), SiteError> {
    let entries = fs::read_dir(folder).map_err(failed(folder))?;
    let entries: Result<Vec<_>, _> = entries.collect();
    let mut entries = entries.map_err(failed(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A link that leads nowhere, or out of the folder, is not there.
        let is_inside = path
            .canonicalize()
            .is_ok_and(|real| real.starts_with(real_root));
        if is_hidden || !is_inside {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(failed(&path))?;
        if metadata.is_file() {
            visit(&path, &metadata)?;
        } else if metadata.is_dir() && depth < DEPTH_MAX {
            walk_below(&path, real_root, depth + 1, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::site::Site;

    /// A folder that goes when the test is over.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let folder =
                std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
            fs::create_dir_all(folder.join("www/sub")).unwrap();
            Scratch(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn dot_files_and_what_lies_outside_are_not_served() {
        let scratch = Scratch::new("site");
        let www = scratch.0.join("www");
        fs::create_dir_all(www.join(".git")).unwrap();
        for name in ["index.html", "sub/a.txt", ".env", ".git/config"] {
            fs::write(www.join(name), name).unwrap();
        }
        fs::write(scratch.0.join("secret"), "secret").unwrap();
        symlink(scratch.0.join("secret"), www.join("way-out")).unwrap();
        symlink("/", www.join("root")).unwrap();
        symlink(www.join("index.html"), www.join("inside")).unwrap();
        let site = Site::folder(&www).unwrap();
        for path in ["/", "/sub/a.txt", "/inside"] {
            assert!(site.find(path).is_some(), "{path}");
        }
        for path in [
            "/.env",
            "/.git/config",
            "/way-out",
            "/root/etc/passwd",
            "/../secret",
            "/sub/../../secret",
        ] {
            assert!(site.find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_folder_that_changed_is_read_again() {
        let scratch = Scratch::new("site-change");
        let www = scratch.0.join("www");
        fs::write(www.join("a.txt"), "one").unwrap();
        let site = Site::folder(&www).unwrap();
        let before = Print::of(&www).unwrap();
        assert_eq!(Print::of(&www).unwrap(), before);
        fs::write(www.join("a.txt"), "three").unwrap();
        assert_ne!(Print::of(&www).unwrap(), before);
        site.reload(&www).unwrap();
        assert_eq!(&*site.find("/a.txt").unwrap().bytes, b"three");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Site::folder(Path::new("/nowhere/at/all"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}

//! The files that are served: the built-in pages, or an operator's folder.
//!
//! All files are in memory, under the paths that they answer to. So a request touches no disk and cannot leave the folder: what was not
//! read at the start, or when the folder changed, is not there. A leaf: knows no connection and no clock.

mod folder;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use include_dir::{Dir, include_dir};

pub use folder::{Print, SiteError};

static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/pages");

/// Most bytes of a folder's files together.
pub const FOLDER_BYTES_MAX: u64 = 256 << 20;

/// One file, as it is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Its type, by its name.
    pub content_type: Box<str>,
    /// A strong entity tag, with its quotes.
    pub etag: Box<str>,
    /// All of it.
    pub bytes: Arc<[u8]>,
}

/// Files by path, such as `chat.html`.
type Files = HashMap<Box<str>, Arc<File>>;

/// A set of files that can be replaced while it is served.
#[derive(Debug, Default)]
pub struct Site {
    files: RwLock<Arc<Files>>,
    /// Whether they are the built-in pages, of which some answer to more than their own path.
    is_builtin: bool,
}

impl Site {
    /// The built-in pages.
    #[must_use]
    pub fn builtin() -> Site {
        let mut files = Files::new();
        for page in PAGES.files() {
            if let Some(name) = page.path().to_str() {
                files.insert(name.into(), file(name, page.contents().into()));
            }
        }
        Site {
            files: RwLock::new(Arc::new(files)),
            is_builtin: true,
        }
    }

    /// The files of a folder and of those below it. Files whose name, or whose folder's name, begins with a dot are left out,
    /// and so is what a link leads to outside.
    ///
    /// # Errors
    /// What cannot be read, or that it is more than [`FOLDER_BYTES_MAX`].
    pub fn folder(root: &Path) -> Result<Site, SiteError> {
        let files = folder::read(root)?;
        Ok(Site {
            files: RwLock::new(Arc::new(files)),
            is_builtin: false,
        })
    }

    /// Reads the folder again; what is being sent is sent to its end.
    ///
    /// # Errors
    /// As [`Site::folder`]; then everything stays as it was.
    pub fn reload(&self, root: &Path) -> Result<(), SiteError> {
        let files = Arc::new(folder::read(root)?);
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(())
    }

    /// Whether it is the built-in pages.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// The file that answers to `path`, percent-decoded: itself, its page (`/chat` is `chat.html`), or the index of a folder.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Arc<File>> {
        let files = self
            .files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let name = path.strip_prefix('/')?;
        if name.is_empty() || name.ends_with('/') {
            return files.get(&*format!("{name}index.html")).cloned();
        }
        let named = files
            .get(name)
            .or_else(|| files.get(&*format!("{name}.html")));
        if named.is_some() || !self.is_builtin {
            return named.cloned();
        }
        // Every document has the same page.
        name.strip_prefix("document/")?;
        files.get("document.html").cloned()
    }
}

fn file(name: &str, bytes: Arc<[u8]>) -> Arc<File> {
    // What guesses by names takes types for videos, which share their ending.
    let guessed = match name.strip_suffix(".ts") {
        Some(_) => "text/x-typescript".parse().ok(),
        None => mime_guess::from_path(name).first(),
    };
    let mime = guessed.unwrap_or(mime_guess::mime::APPLICATION_OCTET_STREAM);
    let is_text =
        mime.type_() == "text" || mime.subtype() == "javascript" || mime.subtype() == "json";
    let charset = if is_text { "; charset=utf-8" } else { "" };
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Arc::new(File {
        content_type: format!("{}{charset}", mime.essence_str()).into(),
        etag: format!("\"{:x}-{:x}\"", bytes.len(), hasher.finish()).into(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_their_paths() {
        let mut files = Files::new();
        for name in [
            "index.html",
            "chat.html",
            "document.html",
            "a/index.html",
            "a/b.js",
        ] {
            files.insert(name.into(), file(name, Arc::from(name.as_bytes())));
        }
        let site = |is_builtin| Site {
            files: RwLock::new(Arc::new(files.clone())),
            is_builtin,
        };
        for (path, found) in [
            ("/", Some("index.html")),
            ("/index.html", Some("index.html")),
            ("/chat", Some("chat.html")),
            ("/chat/", None),
            ("/a/", Some("a/index.html")),
            ("/a", None),
            ("/a/b.js", Some("a/b.js")),
            ("/document/x", Some("document.html")),
            ("/document/x/y", Some("document.html")),
            ("/../a/b.js", None),
            ("/a/../chat", None),
            ("//chat", None),
            ("chat", None),
            ("*", None),
        ] {
            let file = site(true).find(path);
            let name = file
                .as_ref()
                .map(|file| std::str::from_utf8(&file.bytes).unwrap());
            assert_eq!(name, found, "{path}");
        }
        assert_eq!(site(false).find("/document/x"), None);
    }

    #[test]
    fn a_files_type_follows_from_its_name() {
        for (name, content_type) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.d.ts", "text/x-typescript; charset=utf-8"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(
                &*file(name, Arc::from(&b""[..])).content_type,
                content_type,
                "{name}"
            );
        }
    }

    #[test]
    fn the_pages_are_in_the_binary() {
        assert!(Site::builtin().find("/robots.txt").is_some());
    }
}

//! Which files the server serves, and the thread that looks whether an operator's folder has changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use crate::site::{Print, Site};

/// How often the folder is looked at: soon enough for who edits a page, and next to nothing for the disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of the server, and what keeps them fresh.
pub struct Pages {
    /// What is served.
    pub site: Arc<Site>,
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Pages {
    /// The built-in pages, or those of a folder, which is watched from now on.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn open(folder: Option<&Path>) -> anyhow::Result<Pages> {
        let Some(folder) = folder else {
            let site = Arc::new(Site::builtin());
            return Ok(Pages { site, watch: None });
        };
        let print = Print::of(folder).context("--static")?;
        let site = Arc::new(Site::folder(folder).context("--static")?);
        let (stop, is_over) = mpsc::channel();
        let (watched, path) = (site.clone(), PathBuf::from(folder));
        let watcher = thread::Builder::new()
            .name("static".into())
            .spawn(move || {
                let mut print = print;
                while is_over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    print = look(&watched, &path, print);
                }
            })?;
        Ok(Pages {
            site,
            watch: Some((stop, watcher)),
        })
    }

    /// Ends the watching.
    pub fn close(self) {
        if let Some((stop, watcher)) = self.watch {
            drop(stop);
            // It reports its own troubles; that it panicked would have ended the process.
            let _ = watcher.join();
        }
    }
}

/// Reads the folder again if it has changed. What cannot be read is reported once, and what was read before is served on.
fn look(site: &Site, folder: &Path, before: Print) -> Print {
    let Ok(print) = Print::of(folder) else {
        // Somebody is in the middle of changing it.
        return before;
    };
    if print != before {
        match site.reload(folder) {
            Ok(()) => tracing::info!(folder = %folder.display(), "the files were read again"),
            Err(error) => tracing::error!("the files stay as they were: {error}"),
        }
    }
    print
}

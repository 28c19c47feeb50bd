//! The server's certificates while it runs: one configuration for all shards, read anew when its files change.
//!
//! A connection keeps what it was opened with; who comes later gets the new one. Files that are no longer of use change nothing: what
//! was read before them stays, and the log says why.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use fanfare_tls::{FileError, ProducesTickets, ServerConfig, ServerFiles, ticketer};

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The certificates, and what has come of them.
#[derive(Debug)]
pub struct Certificates {
    files: ServerFiles,
    current: RwLock<Arc<ServerConfig>>,
    loading: Mutex<Loading>,
    counts: Counts,
}

/// What only those who read the files need.
#[derive(Debug)]
struct Loading {
    tickets: Arc<dyn ProducesTickets>,
    /// How the files looked when they were last read.
    seen: Vec<Option<Look>>,
    /// The authorities of clients as they were last read. Tickets vouch for a client that others vouched for.
    client_ca: Option<Vec<u8>>,
}

/// What changes when a file does.
type Look = (u64, u64, u64, i64, i64);

/// Handshakes since the start.
#[derive(Debug, Default)]
pub struct Counts {
    full: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// A handshake is over.
    pub fn opened(&self, resumed: bool) {
        let count = if resumed { &self.resumed } else { &self.full };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A peer spoke no TLS, or not to us.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Full handshakes, resumed sessions, and failures of either or of what came behind.
    #[must_use]
    pub fn read(&self) -> [u64; 3] {
        [&self.full, &self.resumed, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Certificates {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What the operator must mend.
    pub fn load(files: ServerFiles) -> Result<Certificates, FileError> {
        let mut loading = Loading {
            tickets: ticketer()?,
            seen: look(&files),
            client_ca: authorities(&files),
        };
        let config = loading.load(&files)?;
        Ok(Certificates {
            files,
            current: RwLock::new(config),
            loading: Mutex::new(loading),
            counts: Counts::default(),
        })
    }

    /// What a connection that comes now is served with.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        // Nobody can panic while holding it; and what is in it is whole at any time.
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Handshakes so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reads the files anew, whether they have changed or not.
    pub fn reload(&self) {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        loading.seen = look(&self.files);
        let config = match loading.load(&self.files) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the certificates stay as they are: {error}");
                return;
            }
        };
        drop(loading);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        tracing::info!("certificates were read anew");
    }

    /// Watches the files from a thread of its own, for as long as the process lives. While two of them are written one after the other,
    /// they may not fit; then the second changes them again.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn watch(self: Arc<Self>) -> std::io::Result<()> {
        thread::Builder::new()
            .name("certificates".into())
            .spawn(move || {
                loop {
                    // Woken early or late, it looks at the files, and that is all.
                    thread::park_timeout(WATCH_INTERVAL);
                    let looks = look(&self.files);
                    let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
                    let changed = loading.seen != looks;
                    drop(loading);
                    if changed {
                        self.reload();
                    }
                }
            })?;
        Ok(())
    }
}

impl Loading {
    fn load(&mut self, files: &ServerFiles) -> Result<Arc<ServerConfig>, FileError> {
        let client_ca = authorities(files);
        if client_ca != self.client_ca {
            // A resumed session shows no certificate again: whom the old authorities vouched for must come anew.
            self.tickets = ticketer()?;
        }
        let loaded = files.load(self.tickets.clone())?;
        self.client_ca = client_ca;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.config)
    }
}

/// The bytes of the file of authorities; whether they can be read is found out when they are parsed.
fn authorities(files: &ServerFiles) -> Option<Vec<u8>> {
    files
        .client_ca
        .as_ref()
        .and_then(|path| fs::read(path).ok())
}

fn look(files: &ServerFiles) -> Vec<Option<Look>> {
    let look = |path: PathBuf| {
        // Follows links, as those who renew certificates make them.
        let data = fs::metadata(path).ok()?;
        Some((
            data.dev(),
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
        ))
    };
    files.paths().map(|path| look(path.to_owned())).collect()
}

//! The configuration: what flags and config file say, checked, and lowered to what the server is built from.
//!
//! [`Options`] is what was written, [`Config`] what is meant. A `Config` that came out of [`Config::from_options`] is
//! within every bound, so nobody behind it checks again. Called by the command line; what it refuses, it
//! refuses with one sentence that names the flag.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use fanfare_tls::ServerFiles;

use crate::addresses::Limits;
use crate::auth::KeyFiles;
use crate::engine::Settings;
use crate::engine::named::NamedRule;
use crate::feed;

mod effective;
mod feeds;
mod file;
mod history;
mod identity;
mod lower;
mod options;
mod quantity;
mod tls;

pub use history::{History, HistoryError};
pub use identity::Anonymous;
pub use options::{LogFormat, LogLevel, Options};
pub use quantity::{Bytes, Millis, QuantityError, Shards};

/// How often `$sys.stats` is published. Rates are told of one second and of ten, so there is nothing to choose.
const STATS_INTERVAL_MS: u32 = 1000;

/// Everything a server needs to know to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses to listen on without TLS; with `tls_listen` at least one, all different.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on with TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// What clients with a certificate may do, by name.
    pub client_rights: Vec<NamedRule>,
    /// Certificates and keys, where TLS is spoken.
    pub tls: Option<ServerFiles>,
    /// Addresses for the operator alone, all different: metrics, stats and memory are told there and nowhere else. None: they are told
    /// to everybody.
    pub admin_listen: Vec<SocketAddr>,
    /// Threads that serve connections; `None` = as many as cores and file limits ask for.
    pub shards: Option<NonZeroUsize>,
    /// Connections at most, of all shards together; `None` = what one shard a core has room for.
    pub max_connections: Option<NonZeroUsize>,
    /// Limits, timeouts and routes.
    pub settings: Settings,
    /// The folder whose files are served instead of the built-in pages.
    pub site: Option<PathBuf>,
    /// Connections the kernel may hold until they are accepted.
    pub backlog: u32,
    /// The kernel's receive buffer of a connection, bytes; `None` = the kernel's choice.
    pub recv_buffer: Option<u32>,
    /// The kernel's send buffer of a connection, bytes; `None` = the kernel's choice.
    pub send_buffer: Option<u32>,
    /// Unsent bytes with which the socket of a connection that wants newest values takes no more; 0 = up to its send buffer.
    pub notsent_lowat: u32,
    /// Milliseconds after which output that is not acknowledged ends a connection; 0 = the kernel's choice.
    pub user_timeout_ms: u32,
    /// Where the keys of clients come from.
    pub keys: KeyFiles,
    /// How much one address may have.
    pub address_limits: Limits,
    /// How log lines look.
    pub log: LogFormat,
    /// What is logged.
    pub log_level: LogLevel,
    /// The recorded file to publish.
    pub replay: Option<feed::Replay>,
    /// The simulated market to publish.
    pub sim: Option<feed::Sim>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9001))],
            tls_listen: Vec::new(),
            tls: None,
            client_rights: Vec::new(),
            admin_listen: Vec::new(),
            shards: None,
            max_connections: None,
            settings: Settings {
                stats_interval_ms: STATS_INTERVAL_MS,
                ..Settings::default()
            },
            site: None,
            backlog: 4096,
            recv_buffer: None,
            send_buffer: None,
            notsent_lowat: 16_384,
            user_timeout_ms: 60_000,
            keys: KeyFiles::default(),
            address_limits: Limits::default(),
            log: LogFormat::default(),
            log_level: LogLevel::default(),
            replay: None,
            sim: None,
        }
    }
}

impl Options {
    /// These options, and for what they leave out those of the file at `path`.
    ///
    /// # Errors
    /// What is wrong with the file, beginning with its name and line.
    pub fn over_file(&self, path: &Path) -> anyhow::Result<Options> {
        let mut merged = toml::Table::try_from(file::read(path)?)?;
        merged.extend(toml::Table::try_from(self)?);
        Ok(merged.try_into()?)
    }

    /// As a config file that gives the same options again.
    ///
    /// # Errors
    /// A value TOML has no form for, such as an integer above 2^63.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }
}

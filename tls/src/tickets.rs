//! Tickets of a program that is many clients at once.
//!
//! The store that rustls brings keeps eight tickets a server: enough for one client, who takes one and gets one with each
//! connection. Of many that connect together most would find none and shake hands in full, as none of the clients that they stand
//! for would.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Servers that are remembered.
const SERVERS_MAX: usize = 256;
/// Tickets of a server; beyond that the oldest goes.
const TICKETS_MAX: usize = 1 << 16;

/// Sessions that may be resumed.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    servers: Mutex<HashMap<ServerName<'static>, Known>>,
}

/// What is known of a server.
#[derive(Debug, Default)]
struct Known {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl Tickets {
    fn with<T>(&self, name: &ServerName<'_>, look: impl FnOnce(&mut Known) -> T) -> Option<T> {
        // Whoever panicked has left a map of whole entries.
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get_mut(&name.to_owned()).map(look)
    }

    fn with_new(&self, name: ServerName<'static>, look: impl FnOnce(&mut Known)) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= SERVERS_MAX && !servers.contains_key(&name) {
            servers.clear();
        }
        look(servers.entry(name).or_default());
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.with_new(name, |known| known.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(name, |known| known.group)?
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with_new(name, |known| known.tls12 = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(name, |known| known.tls12.clone())?
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.with(name, |known| known.tls12 = None);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with_new(name, |known| {
            if known.tls13.len() >= TICKETS_MAX {
                known.tls13.pop_front();
            }
            known.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The newest: it is valid the longest.
        self.with(name, |known| known.tls13.pop_back())?
    }
}

//! The way in: accepts within a budget, counts against the server's and the shard's limits, says no in time.
//!
//! When the whole server is full, newcomers are let in only as far as being told 503. When this shard's table of open
//! files is full, it closes its listeners, so that the kernel sends newcomers to shards that have room, and listens
//! again when a twentieth of its places is free. The operator's listeners stay: a full server, and one that stops, can still be
//! looked at. Running out of open files is a state that is waited out, never a busy loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::{LISTENERS, Listen, Plan};
use crate::addresses::Address;
use crate::clock::Now;
use crate::metrics::Entrance;

/// Connections accepted in one tick before others have their turn.
const ACCEPT_TURN: usize = 128;
/// Places beyond the limit, for those who are told that there is none.
pub(crate) const REFUSALS_MAX: usize = 32;
/// How long accepting rests after the system ran out of open files.
const EXHAUSTED_REST_US: u64 = 250_000;

/// All listeners of a shard.
pub(super) struct Door {
    listen: Vec<Listen>,
    listeners: Vec<Slot>,
    connections_max: usize,
    shard_connections_max: usize,
    /// Connections of the whole server, those being refused included.
    live: Arc<AtomicUsize>,
    rest_until_us: u64,
    /// Closed for good: the server stops.
    shut: bool,
    /// Connections that were closed as they came.
    dropped: u64,
    /// How often accepting had to rest.
    exhausted: u64,
}

/// How a connection comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// As others do.
    Public,
    /// To be told that there is no room.
    Refused,
    /// By an operator's listener.
    Admin,
}

struct Slot {
    listener: Option<TcpListener>,
    /// Whether connections may be waiting.
    ready: bool,
}

impl Door {
    pub(super) fn new(plan: &Plan, live: Arc<AtomicUsize>) -> Door {
        Door {
            listen: plan.listen.clone(),
            listeners: plan
                .listen
                .iter()
                .map(|_| Slot {
                    listener: None,
                    ready: false,
                })
                .collect(),
            connections_max: plan.connections_max,
            shard_connections_max: plan.shard_connections_max,
            live,
            rest_until_us: 0,
            shut: false,
            dropped: 0,
            exhausted: 0,
        }
    }

    /// What it has come to.
    pub(super) fn entrance(&self) -> Entrance {
        Entrance {
            connections_max: self.connections_max as u64,
            dropped: self.dropped,
            exhausted: self.exhausted,
            tls: [0; 3],
            is_resting: self.rest_until_us > 0,
            is_full: !self.shut && self.listeners.iter().any(|slot| slot.listener.is_none()),
        }
    }

    /// Listens on every address where it does not yet.
    pub(super) fn open(&mut self, registry: &Registry) -> io::Result<()> {
        for (place, (listen, slot)) in self.listen.iter().zip(&mut self.listeners).enumerate() {
            if slot.listener.is_some() {
                continue;
            }
            let mut listener = listen.open()?;
            registry.register(&mut listener, Token(LISTENERS - place), Interest::READABLE)?;
            // Whoever came before the registration caused no event.
            *slot = Slot {
                listener: Some(listener),
                ready: true,
            };
        }
        Ok(())
    }

    /// Stops listening for good, but for the operator.
    pub(super) fn close(&mut self, registry: &Registry) {
        self.shut = true;
        self.drop_listeners(registry);
    }

    pub(super) fn on_ready(&mut self, place: usize) {
        self.listeners[place].ready = true;
    }

    /// A connection has been closed.
    pub(super) fn on_closed(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is anybody to accept now.
    pub(super) fn has_waiting(&self) -> bool {
        self.rest_until_us == 0
            && self
                .listeners
                .iter()
                .any(|slot| slot.ready && slot.listener.is_some())
    }

    /// Whether it is closed for now, and time may open it.
    pub(super) fn is_closed(&self) -> bool {
        !self.shut
            && (self.rest_until_us > 0 || self.listeners.iter().any(|slot| slot.listener.is_none()))
    }

    /// Accepts those who wait, within a turn; `enter` gets each, whether it speaks TLS, and how it comes.
    pub(super) fn accept(
        &mut self,
        now: Now,
        registry: &Registry,
        here: usize,
        mut enter: impl FnMut(TcpStream, bool, Entry, Address),
    ) {
        if self.rest_until_us > 0 && now.mono_us < self.rest_until_us {
            return;
        }
        self.rest_until_us = 0;
        let mut here = here;
        if self.is_closed() && here + here / 19 < self.shard_connections_max {
            self.listen_again(now, registry);
        }
        for place in 0..self.listeners.len() {
            if !self.listeners[place].ready {
                continue;
            }
            for _ in 0..ACCEPT_TURN {
                let Some(listener) = &self.listeners[place].listener else {
                    break;
                };
                match listener.accept() {
                    Ok((stream, peer)) => {
                        let live = self.live.fetch_add(1, Ordering::Relaxed);
                        if live >= self.connections_max + REFUSALS_MAX
                            || here >= self.shard_connections_max + REFUSALS_MAX
                        {
                            // Not even room to be told: dropped.
                            self.live.fetch_sub(1, Ordering::Relaxed);
                            self.dropped += 1;
                            continue;
                        }
                        let is_full =
                            live >= self.connections_max || here >= self.shard_connections_max;
                        let entry = match is_full {
                            // It is in such moments that somebody must be able to look.
                            _ if self.listen[place].is_admin => Entry::Admin,
                            true => Entry::Refused,
                            false => Entry::Public,
                        };
                        enter(stream, self.listen[place].tls, entry, peer.ip().into());
                        here += 1;
                    }
                    Err(error) => {
                        self.on_accept_error(now, place, &error);
                        if !is_passing(&error) {
                            break;
                        }
                    }
                }
            }
        }
        // Those still in the queue were answered above, as far as there was room.
        if here >= self.shard_connections_max
            && (self.listen.iter().zip(&self.listeners))
                .any(|(listen, slot)| !listen.is_admin && slot.listener.is_some() && !slot.ready)
        {
            tracing::warn!(
                connections = here,
                "this shard is full and stops listening until some leave"
            );
            self.drop_listeners(registry);
        }
    }

    fn on_accept_error(&mut self, now: Now, place: usize, error: &io::Error) {
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => self.listeners[place].ready = false,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                tracing::warn!(%error, "cannot accept; resting");
                self.rest_until_us = now.mono_us + EXHAUSTED_REST_US;
                self.exhausted += 1;
            }
            _ => {}
        }
    }

    fn listen_again(&mut self, now: Now, registry: &Registry) {
        if let Err(error) = self.open(registry) {
            tracing::warn!(%error, "cannot listen again; resting");
            self.rest_until_us = now.mono_us + EXHAUSTED_REST_US;
        }
    }

    fn drop_listeners(&mut self, registry: &Registry) {
        let listeners = self.listen.iter().zip(&mut self.listeners);
        for (_, slot) in listeners.filter(|(listen, _)| !listen.is_admin) {
            if let Some(mut listener) = slot.listener.take() {
                // Closing it takes it off the poll in any case.
                let _ = registry.deregister(&mut listener);
            }
            slot.ready = false;
        }
    }
}

/// A connection that was gone before it was accepted says nothing about the next one.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::EPERM)
    )
}

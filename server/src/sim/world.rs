//! The world of one seed: shards, mail, sockets, clients and two clocks, and what becomes of all that when the server starts
//! anew.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fastrand::Rng;

use super::client::Client;
use super::post::Post;
use super::setup::Setup;
use super::tally::Tally;
use super::truth::Truth;
use crate::clock::Now;
use crate::engine::disconnect::Disconnect;
use crate::engine::{ConnId, Engine};
use crate::hub::mail::ShardId;
use crate::hub::{Charter, witness};

/// Places for connections of a shard.
const PLACES: usize = 32;
/// The wall clock when the world begins.
const WALL_US: i64 = 1_790_000_000_000_000;

/// Everything there is.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) setup: Setup,
    pub(super) now: Now,
    /// The latest that the wall clock has shown.
    pub(super) wall_us_max: i64,
    pub(super) step: usize,
    pub(super) engines: Vec<Engine>,
    /// Shards that do nothing until then, microseconds.
    pub(super) late_until_us: Vec<u64>,
    pub(super) post: Post,
    pub(super) clients: Vec<Client>,
    pub(super) truth: Truth,
    pub(super) epoch: String,
    epochs: u32,
    /// Where clients stood that are gone: epoch, topic, seq.
    pub(super) memories: Vec<(String, String, u64)>,
    /// What streams of events had named, and the last id of each.
    pub(super) last_ids: Vec<(Vec<String>, String)>,
    pub(super) tally: Tally,
    /// The last number that a command, a client or a value was given.
    pub(super) last_number: u64,
    pub(super) hash: DefaultHasher,
    pub(super) is_verbose: bool,
}

impl World {
    pub(super) fn new(seed: u64, is_verbose: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let setup = Setup::of(&mut rng);
        drop(witness::take());
        let mut world = World {
            rng,
            now: Now {
                mono_us: 1_000_000,
                wall_us: WALL_US,
            },
            wall_us_max: WALL_US,
            step: 0,
            engines: Vec::new(),
            late_until_us: vec![0; setup.shards.into()],
            post: Post::new(setup.shards, setup.lane_letters_max, setup.mail_delay_us),
            clients: Vec::new(),
            truth: Truth::default(),
            epoch: String::new(),
            epochs: 0,
            memories: Vec::new(),
            last_ids: Vec::new(),
            tally: Tally::default(),
            last_number: 0,
            hash: DefaultHasher::new(),
            is_verbose,
            setup,
        };
        if is_verbose {
            println!("{:#?}", world.setup);
        }
        world.start();
        world
    }

    /// The server starts: with nothing, and a new epoch.
    pub(super) fn start(&mut self) {
        self.absorb_counters();
        let settings = Arc::new(self.setup.settings.clone());
        self.epochs += 1;
        self.epoch = format!("e{}", self.epochs);
        let charter = Charter {
            shards: self.setup.shards,
            seed: self.rng.u64(..),
            epoch: (*self.epoch).into(),
            topics_per_owner_max: settings.topics_max,
            kept_bytes_per_owner_max: settings.kept_bytes_max,
            filter_topics_max: settings.filter_topics_max,
            filters_per_topic_max: settings.filters_per_topic_max,
            keys: settings.keys,
            history: settings.history.clone().into(),
            threshold: settings.compression.threshold,
        };
        let engine = |shard| Engine::new(ShardId(shard), charter.clone(), settings.clone(), PLACES);
        self.engines = (0..self.setup.shards).map(engine).collect();
        self.post = Post::new(
            self.setup.shards,
            self.setup.lane_letters_max,
            self.setup.mail_delay_us,
        );
        self.truth = Truth::default();
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Takes note of something that happened.
    pub(super) fn log(&mut self, what: &str, numbers: &[u64]) {
        (what, numbers, self.now.mono_us).hash(&mut self.hash);
        if self.is_verbose {
            println!(
                "{:>6} {:>10} {what} {numbers:?}",
                self.step, self.now.mono_us
            );
        }
    }

    /// What the run was: the same seed gives the same.
    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Accepts a connection that has sent nothing yet.
    pub(super) fn accept(&mut self, shard: usize) -> ConnId {
        let now = self.now;
        self.engines[shard].on_open(now, false)
    }

    /// Forgets whom the server has closed, but for where they stood.
    pub(super) fn forget_closed(&mut self) {
        for client in self.clients.iter().filter(|client| client.socket.is_closed) {
            for source in client.view.sources() {
                if let Some(seq) = client.view.at(source) {
                    self.memories
                        .push((self.epoch.clone(), source.clone(), seq));
                }
            }
            let last_id = &client.view.events.last_id;
            if !last_id.is_empty() {
                let sources = client.view.sources().cloned().collect();
                self.last_ids.push((sources, last_id.clone()));
            }
            let asked = &client.view.web.asked;
            assert!(
                client.has_left
                    || client.view.web.is_over
                    || client.socket.was_blocked
                    // What was sent too late to be read is not answered.
                    || !client.socket.up.is_empty()
                    // Where a tick writes to one, others may not have had their turn.
                    || self.setup.flush_turn == 1
                    // Answers to what was asked at once may be more than such a queue takes.
                    || self.setup.settings.outbox_bytes_max < 20_000
                    || asked.is_empty(),
                "client {} is closed without an answer: {asked:?}",
                client.name
            );
        }
        let excess = self.last_ids.len().saturating_sub(20);
        self.last_ids.drain(..excess);
        let excess = self.memories.len().saturating_sub(40);
        self.memories.drain(..excess);
        self.clients.retain(|client| !client.socket.is_closed);
    }

    /// Adds what the engines have counted.
    pub(super) fn absorb_counters(&mut self) {
        for engine in &self.engines {
            self.tally
                .count("slow entered", engine.counters().slow_entered);
            self.tally.count("slow left", engine.counters().slow_left);
            let slow = engine.counters().disconnects[Disconnect::Slow.ordinal()];
            self.tally.count("close 4103 decided", slow);
            self.tally.count("delivered", engine.counters().deliveries);
        }
    }
}

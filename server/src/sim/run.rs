//! One seed from beginning to end: things happen, all comes to rest, everybody leaves.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

use super::client::Pace;
use super::tally::Tally;
use super::world::World;

/// In so many rounds a world at rest has nothing left to do.
const ROUNDS_MAX: usize = 20_000;

/// What a run was.
pub(super) struct Outcome {
    pub(super) hash: u64,
    pub(super) tally: Tally,
}

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
    static WHY: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic inside a run says to itself; all others are told as ever.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_RUNNING.get() {
                WHY.set(info.to_string().replace('\n', " "));
            } else {
                tell(info);
            }
        }));
    });
}

/// Runs one seed; the error is what the panic said that ended it.
pub(super) fn run(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
    listen_to_panics();
    IS_RUNNING.set(true);
    let outcome = panic::catch_unwind(|| {
        let mut world = World::new(seed, is_verbose);
        for step in 1..=world.setup.steps {
            world.step = step;
            world.happen();
        }
        world.come_to_rest();
        world.check_rest();
        world.all_leave();
        world.check_empty();
        world.absorb_counters();
        let at_limit =
            world.tally.of("close 4103 decided") - world.tally.of("close 4103 in a sweep");
        world.tally.count("close 4103 at the limit", at_limit);
        Outcome {
            hash: world.hash(),
            tally: std::mem::take(&mut world.tally),
        }
    });
    IS_RUNNING.set(false);
    outcome.map_err(|_| WHY.take())
}

impl World {
    /// The next thing.
    fn happen(&mut self) {
        for client in &mut self.clients {
            client.read_on();
        }
        match self.rng.u16(..1000) {
            0..450 => {
                let shard = self.rng.usize(..self.engines.len());
                if self.late_until_us[shard] <= self.now.mono_us {
                    self.tick(shard);
                }
            }
            450..800 => self.act(),
            800..820 => {
                let lane = [0; 2].map(|_| self.rng.usize(..self.engines.len()));
                let most_us = if self.setup.young > 0 {
                    1_000_000
                } else {
                    300_000
                };
                let until_us = self.now.mono_us + self.rng.u64(..most_us);
                self.tally.add("lane held back", lane[0] != lane[1]);
                self.post.hold((lane[0], lane[1]), until_us);
            }
            820..960 => {
                let us = self.rng.u64(..30_000);
                self.pass(us);
            }
            960..975 => {
                self.tally.add("jump", true);
                let most_us = if self.setup.young > 0 {
                    100_000
                } else {
                    1_500_000
                };
                let us = self.rng.u64(..most_us);
                self.pass(us);
            }
            975..985 => {
                let is_set = self.setup.is_clock_set;
                self.tally.add("wall clock backwards", is_set);
                self.now.wall_us -= i64::from(is_set) * self.rng.i64(0..3_000_000);
            }
            985..998 => {
                self.tally.add("shard late", true);
                let shard = self.rng.usize(..self.engines.len());
                self.late_until_us[shard] = self.now.mono_us + self.rng.u64(..800_000);
            }
            _ => self.restart(),
        }
    }

    /// The server is killed and started again.
    fn restart(&mut self) {
        self.tally.add("server restart", true);
        for client in &mut self.clients {
            (client.socket.is_closed, client.has_left) = (true, true);
        }
        self.forget_closed();
        self.start();
    }

    /// Time passes; each shard wakes when it has said that it must.
    pub(super) fn pass(&mut self, us: u64) {
        let end_us = self.now.mono_us + us;
        loop {
            let next = (self.engines.iter().enumerate())
                .map(|(shard, engine)| {
                    let at_us = engine.next_time_us().max(self.late_until_us[shard]);
                    (at_us.max(self.now.mono_us), shard)
                })
                .min();
            let Some((at_us, shard)) = next.filter(|(at_us, _)| *at_us <= end_us) else {
                break;
            };
            self.set_time(at_us);
            self.tick(shard);
        }
        self.set_time(end_us);
    }

    fn set_time(&mut self, mono_us: u64) {
        self.now.wall_us += (mono_us - self.now.mono_us) as i64;
        self.now.mono_us = mono_us;
        self.wall_us_max = self.wall_us_max.max(self.now.wall_us);
    }

    /// Everybody reads, mail flows, intervals end.
    fn come_to_rest(&mut self) {
        self.step += 1;
        (self.setup.short_writes, self.setup.refusals) = (0, 0);
        (self.post.delay_us, self.post.letters_max) = (0, usize::MAX);
        self.late_until_us.fill(0);
        self.post.release();
        for client in &mut self.clients {
            client.set_pace(Pace::Everything);
        }
        // Mail that is late arrives, of lanes that were held back for up to a second; intervals, of which the longest are 150 ms, and polls,
        // one behind the other, end.
        for _ in 0..14 {
            self.settle();
            self.pass(200_000);
        }
        self.settle();
        self.ask_last();
        for _ in 0..4 {
            self.settle();
            self.pass(200_000);
        }
        self.settle();
    }

    /// Ticks until nothing is left to be done.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for shard in 0..self.engines.len() {
                self.tick(shard);
            }
            let is_idle = |engine: &mut crate::engine::Engine| {
                !engine.has_backlog()
                    && !engine.has_answered()
                    && !engine.has_dirty()
                    && engine.outgoing().waiting() == 0
            };
            let is_read = (self.clients.iter())
                .all(|client| client.socket.up.is_empty() && !client.socket.is_blocked);
            let is_due = self.post.is_due(self.now.mono_us);
            if is_read && !is_due && self.engines.iter_mut().all(is_idle) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn check_rest(&self) {
        assert!(self.post.is_empty(), "all mail has arrived");
        for client in self.clients.iter().filter(|client| client.is_live()) {
            client.view.check_rest(&self.truth);
        }
    }

    fn all_leave(&mut self) {
        for place in 0..self.clients.len() {
            if !self.clients[place].has_left {
                self.go(place);
            }
        }
        // Longer than any timeout of a connection that ends.
        for _ in 0..8 {
            self.settle();
            self.pass(500_000);
        }
    }
}

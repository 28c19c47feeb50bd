//! What one connection begins (connect, subscribe, close), and how that ends: answered, refused,
//! overdue, cut off. Every beginning is told to the [`Drive`](super::Drive) as launched, every end
//! as landed and settled.

use super::{Answers, Fleet, Flight, Job, Stage};
use crate::class::Class;
use crate::clock;
use crate::link::{Framing, Link, LinkError};
use crate::plan::Plan;
use fanfare_wire::command::Since;
use fanfare_wire::frame::Opcode;
use mio::{Registry, Token};

/// Bytes of topic names in one subscribe command: far below what servers take in a frame.
const COMMAND_BYTES_MAX: usize = 16 << 10;
/// What a topic adds to its name in a command.
const QUOTES: usize = r#""","#.len();
/// The same with a position, whose epoch is a few letters.
const SINCE_BYTES_MAX: usize = 128;

impl Fleet {
    pub(super) fn connect(&mut self, slot: u32, registry: &Registry) {
        let number = self.client(slot).number as usize;
        let Plan {
            targets,
            sources,
            dialect,
            framing,
            ..
        } = &*self.plan;
        let member = &mut self.members[slot as usize];
        // Another attempt comes from another address: the first may have had no port left.
        let source =
            sources[(number / targets.len() + usize::from(member.attempts)) % sources.len()];
        let target = self.plan.target_of(number as u64);
        member.attempts = member.attempts.saturating_add(1);
        member.since_ns = clock::monotonic_ns();
        // Else the kernel would read for them: on loopback its buffers take megabytes.
        let receive_buffer = match member.class {
            Class::Healthy => None,
            _ => self.plan.readers.receive_buffer,
        };
        let link = if *framing == Framing::WebSocket {
            Link::connect_narrow(target, source, dialect.subprotocol(), receive_buffer)
        } else {
            let mut request = Vec::new();
            self.subscriptions
                .put_request(&mut request, target, slot, &self.batches);
            Link::connect_plainly(target, source, receive_buffer, *framing, request)
        };
        let registered = link.and_then(|mut link| {
            link.register(registry, Token(slot as usize))?;
            Ok(link)
        });
        match registered {
            Ok(link) => {
                member.link = Some(link);
                member.stage = Stage::Connecting;
                self.launch(slot);
            }
            Err(error) => self.on_connect_failed(slot, &error.into()),
        }
    }

    pub(super) fn on_opened(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        debug_assert_eq!(member.stage, Stage::Connecting);
        member.stage = Stage::Open;
        if let Some(resumed) = member.link.as_ref().and_then(Link::is_resumed) {
            self.report.tls[usize::from(resumed)] += 1;
        }
        self.report
            .handshake
            .record_between(member.since_ns, clock::monotonic_ns());
        self.figures.opened += 1;
        self.land();
        match self.job() {
            Some(Job::Join | Job::Churn) => self.subscribe(slot),
            Some(Job::Connect) if self.plan.framing != Framing::WebSocket => self.subscribe(slot),
            _ => self.settle(),
        }
    }

    pub(super) fn subscribe(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        if member.link.is_none() || !matches!(member.stage, Stage::Open | Stage::Subscribed) {
            return self.settle();
        }
        let count = self.subscriptions.count(&self.batches);
        if count == 0 {
            member.stage = Stage::Subscribed;
            return self.on_joined(slot);
        }
        member.stage = Stage::Subscribing;
        member.since_ns = clock::monotonic_ns();
        member.unanswered = count as u32;
        if self.plan.framing == Framing::WebSocket {
            self.put_subscribe(slot);
        }
        self.launch(slot);
        self.flush(slot);
    }

    /// Queues the subscribe commands. Over plain HTTP the request has said it all.
    fn put_subscribe(&mut self, slot: u32) {
        let Some(link) = &mut self.members[slot as usize].link else {
            return;
        };
        let (mut topics, mut topics_bytes, mut id) = (Vec::new(), 0, 0);
        let options = &self.plan.readers.options;
        let mut command = |id, topics: Vec<(&str, Option<Since<'_>>)>| {
            let topics = topics.into_iter();
            self.plan
                .dialect
                .subscribe(&mut self.command, id, topics, options);
            link.queue(Opcode::Text, &self.command);
        };
        for (name, since) in self.subscriptions.topics(slot, &self.batches) {
            let bytes = name.len() + since.as_ref().map_or(QUOTES, |_| SINCE_BYTES_MAX);
            if topics_bytes + bytes > COMMAND_BYTES_MAX {
                command(id, std::mem::take(&mut topics));
                topics_bytes = 0;
                id += 1;
            }
            topics.push((name, since));
            topics_bytes += bytes;
        }
        command(id, topics);
    }

    pub(super) fn on_answers(&mut self, slot: u32, answers: Answers) {
        let member = &mut self.members[slot as usize];
        let answered = answers.acked + answers.refused;
        let refused_whole = if answers.command_refused {
            member.unanswered.saturating_sub(answered)
        } else {
            0
        };
        self.report.refused += u64::from(answers.refused + refused_whole);
        member.unanswered = member.unanswered.saturating_sub(answered + refused_whole);
        if member.unanswered > 0 || member.stage != Stage::Subscribing {
            return;
        }
        member.stage = Stage::Subscribed;
        self.report
            .subscribe
            .record_between(member.since_ns, clock::monotonic_ns());
        self.land();
        self.on_joined(slot);
    }

    fn on_joined(&mut self, slot: u32) {
        self.figures.subscribed += 1;
        if let Some(since_ns) = self.joining.remove(&slot) {
            self.report
                .join
                .record_between(since_ns, clock::monotonic_ns());
        }
        self.settle();
    }

    pub(super) fn close(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        let Some(link) = &mut member.link else {
            return self.settle();
        };
        if member.class == Class::HalfOpen || self.plan.framing != Framing::WebSocket {
            // It would hear no answer, or there is none. A reset goes out, so that the server is rid
            // of it.
            if let Some(link) = member.link.take() {
                link.cut();
            }
            return self.on_closed(slot);
        }
        if self.plan.close_timeout.is_zero() {
            return self.on_closed(slot);
        }
        link.queue_close();
        member.stage = Stage::Closing;
        member.since_ns = clock::monotonic_ns();
        self.launch(slot);
        self.flush(slot);
    }

    fn on_closed(&mut self, slot: u32) {
        let job = self.job();
        let member = &mut self.members[slot as usize];
        member.link = None;
        member.stage = Stage::Closed;
        self.figures.left += 1;
        match job {
            Some(Job::Churn) => {
                self.on_left(slot);
                if let Some(drive) = &mut self.drive {
                    drive.follow(slot);
                }
            }
            Some(Job::Leave) => {
                self.on_left(slot);
                self.settle();
            }
            _ => self.settle(),
        }
    }

    /// The link has ended by the server's doing, or the kernel's.
    pub(super) fn on_end(&mut self, slot: u32, error: &LinkError) {
        match self.members[slot as usize].stage {
            Stage::Connecting => {
                self.land();
                return self.on_connect_failed(slot, error);
            }
            Stage::Closing => {
                self.land();
                self.figures.closed += 1;
                return self.on_closed(slot);
            }
            Stage::Subscribing => {
                self.land();
                self.settle();
            }
            _ => {}
        }
        let class = self.members[slot as usize].class;
        if self.is_there(slot) {
            self.subscriptions.on_lost(slot);
        }
        self.report.disconnects[class].add(&error.label());
        self.figures.disconnected += 1;
        self.tell("end", slot, |number| {
            format!("connection {number}: {error}")
        });
        let member = &mut self.members[slot as usize];
        member.link = None;
        member.stage = Stage::Lost;
    }

    fn on_connect_failed(&mut self, slot: u32, error: &LinkError) {
        self.report.connect_errors.add(&error.label());
        let member = &mut self.members[slot as usize];
        member.link = None;
        member.stage = Stage::Vacant;
        match &mut self.drive {
            Some(drive)
                if member.attempts < self.plan.attempts_max || may_wait(drive.job, error) =>
            {
                drive.retry(slot, clock::monotonic_ns());
            }
            _ => {
                member.stage = Stage::Failed;
                self.joining.remove(&slot);
                self.figures.failed += 1;
                self.settle();
                self.tell("connect", slot, |number| {
                    format!("connection {number}: cannot connect: {error}")
                });
            }
        }
    }

    /// What the connection waits for has not come in time.
    pub(super) fn on_overdue(&mut self, slot: u32) {
        self.land();
        let member = &mut self.members[slot as usize];
        match member.stage {
            Stage::Connecting => self.on_connect_failed(slot, &LinkError::TimedOut),
            Stage::Subscribing => {
                // It stays connected: the answer may still come, and is then checked.
                member.stage = Stage::Open;
                self.report.unanswered += u64::from(member.unanswered);
                self.tell("subscribe", slot, |number| {
                    format!("connection {number}: no answer to its subscribe command")
                });
                self.settle();
            }
            Stage::Closing => {
                self.report.close_unanswered += 1;
                self.on_closed(slot);
            }
            _ => debug_assert!(false, "only what waits is overdue"),
        }
    }

    fn tell(&mut self, kind: &'static str, slot: u32, sentence: impl FnOnce(u64) -> String) {
        let number = self.client(slot).number;
        self.subscriptions
            .ledger
            .examples
            .add(kind, || sentence(number));
    }

    fn job(&self) -> Option<Job> {
        self.drive.as_ref().map(|drive| drive.job)
    }

    fn launch(&mut self, slot: u32) {
        let since_ns = self.members[slot as usize].since_ns;
        if let Some(drive) = &mut self.drive {
            drive.launch(Flight { slot, since_ns });
        }
    }

    // A job may have been given up before its last answers came: then nobody counts any more.

    fn land(&mut self) {
        if let Some(drive) = &mut self.drive {
            drive.land();
        }
    }

    pub(super) fn settle(&mut self) {
        if let Some(drive) = &mut self.drive {
            drive.settle();
        }
    }
}

/// A port that is taken now will be free again: whoever comes back waits for it. The order's own
/// bounds end this.
fn may_wait(job: Job, error: &LinkError) -> bool {
    matches!(job, Job::Join | Job::Churn) && error.is_out_of_ports()
}

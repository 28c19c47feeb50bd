//! The connection that publishes, and when it may.

use super::{Framing, LinkError, Message, PUBLISHER, Pacing, Session};
use crate::clock;
use crate::link::Link;
use crate::payload;
use crate::protocol::Said;
use mio::event::Event;
use std::io;

/// Bytes that may wait for the publisher's socket; beyond that it is the server that is late.
const UNSENT_BYTES_MAX: usize = 4 << 20;

impl Session<'_> {
    /// Opens the connection that publishes.
    pub(in crate::measure) fn open_publisher(&mut self) -> io::Result<()> {
        let protocol = &self.plan.protocol;
        let mut link = if protocol.publishes_over_websocket() {
            self.connect(&self.plan.target, None)?
        } else {
            Link::connect_plainly(&self.plan.target, None, None, Framing::Bytes, Vec::new())?
        };
        link.register(self.poll.registry(), PUBLISHER)?;
        self.publisher = Some(link);
        Ok(())
    }

    /// Whether the publisher may publish.
    pub(in crate::measure) fn publisher_is_open(&self) -> bool {
        self.publisher.as_ref().is_some_and(Link::is_open)
    }

    /// What the publisher says first; it is sent with its first update.
    pub(in crate::measure) fn greet(&mut self) {
        if let Some(link) = &mut self.publisher {
            self.plan.protocol.greet(link);
        }
    }

    pub(super) fn publish_due(&mut self) {
        let Some(link) = &mut self.publisher else {
            return;
        };
        if matches!(self.pacing, Pacing::Paused) || !link.is_open() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        let mut is_held_back = link.unsent_bytes() > UNSENT_BYTES_MAX;
        while !is_held_back {
            let Some(intended_ns) = self.pacing.take(now_ns, self.account.under_way()) else {
                break;
            };
            let (number, topic) = self.account.publish(intended_ns);
            let payload_bytes = self.plan.payload_bytes;
            let filling = &self.plan.filling;
            payload::write_numbered(
                &mut self.payload,
                intended_ns,
                number,
                payload_bytes,
                filling,
            );
            let topic = &self.plan.topics[topic];
            let (payload, command) = (&self.payload, &mut self.command);
            self.plan
                .protocol
                .publish(link, number, topic, payload, command);
            self.tally.slip.record_between(intended_ns, now_ns);
            is_held_back = link.unsent_bytes() > UNSENT_BYTES_MAX;
        }
        self.tally.held_back += u64::from(is_held_back);
        if let Err(error) = link.flush() {
            self.on_publisher_end(&error.into());
        }
    }

    pub(super) fn on_publisher(&mut self, event: &Event) {
        let Some(link) = &mut self.publisher else {
            return;
        };
        let to_the_end = event.is_read_closed() || event.is_error();
        let (plan, refusals) = (self.plan, &mut self.tally.refusals);
        let ended = loop {
            let mut asked = None;
            let read = link.read(&mut self.buffer, to_the_end, |message, _| {
                let Message::Item(message) = message else {
                    return;
                };
                let heard = plan.protocol.hear_publisher(message, |said| match said {
                    Said::Refused(why) => refusals.add(&why),
                    Said::Asked(opcode, answer) => asked = Some((opcode, answer)),
                    Said::Delivery(_) | Said::Skipped(_) | Said::Acked(_) | Said::Aside => {}
                });
                heard.unwrap_or_else(|why| refusals.add(&why));
            });
            if let Some((opcode, answer)) = asked {
                link.queue(opcode, answer);
            }
            if read.ended.is_some() || !read.more {
                break read.ended;
            }
        };
        // The upgrade request, answers to pings, what the socket did not take before.
        let ended = ended.or_else(|| link.flush().err().map(LinkError::from));
        if let Some(error) = ended {
            self.on_publisher_end(&error);
        }
    }

    fn on_publisher_end(&mut self, error: &LinkError) {
        self.publisher = None;
        self.tally
            .ends
            .add(&format!("publisher: {}", error.label()));
    }
}

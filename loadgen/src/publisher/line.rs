//! One publishing connection: its link, and the publishes that the server has not answered yet.

use crate::dialect::Dialect;
use crate::link::Link;
use fanfare_wire::frame::Opcode;
use std::collections::VecDeque;

/// Bytes that may wait for the socket. Beyond it the line has no room: the server reads too slowly.
const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// Publishes that may wait for their answer.
const PENDING_MAX: usize = 100_000;

/// A publish that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was due.
    pub intended_ns: u64,
    /// Its topic's number.
    pub topic: u32,
}

/// A publishing connection.
#[derive(Debug, Default)]
pub struct Line {
    /// `None` before it is connected, and when it has ended.
    pub link: Option<Link>,
    /// By id, from `first_id` on; `None` is answered.
    pending: VecDeque<Option<Pending>>,
    first_id: u64,
    unanswered: usize,
}

impl Line {
    /// Whether another publish may be queued.
    pub fn has_room(&self) -> bool {
        let Some(link) = &self.link else { return false };
        link.is_open() && link.unsent_bytes() < OUTBOX_BYTES_MAX && self.pending.len() < PENDING_MAX
    }

    /// Queues a publish; flush the link to send it. `command` is scratch.
    pub fn publish(
        &mut self,
        dialect: Dialect,
        topic: &str,
        payload: &[u8],
        pending: Pending,
        command: &mut Vec<u8>,
    ) {
        let Some(link) = &mut self.link else { return };
        let id = self.first_id + self.pending.len() as u64;
        dialect.publish(command, id, topic, payload);
        link.queue(Opcode::Text, command);
        self.pending.push_back(Some(pending));
        self.unanswered += 1;
    }

    /// The publish with this id is answered; `None` if none waits under it.
    pub fn on_answer(&mut self, id: u64) -> Option<Pending> {
        let index = usize::try_from(id.checked_sub(self.first_id)?).ok()?;
        let pending = self.pending.get_mut(index)?.take()?;
        self.unanswered -= 1;
        while self
            .pending
            .pop_front_if(|oldest| oldest.is_none())
            .is_some()
        {
            self.first_id += 1;
        }
        Some(pending)
    }

    /// How many publishes wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: u64) -> Line {
        let pending = |n| {
            Some(Pending {
                intended_ns: n,
                topic: 0,
            })
        };
        Line {
            pending: (0..count).map(pending).collect(),
            unanswered: count as usize,
            ..Line::default()
        }
    }

    #[test]
    fn answers_in_any_order_are_matched_by_id() {
        let mut line = line(4);
        for id in [2, 0, 3, 1] {
            assert_eq!(
                line.on_answer(id).map(|pending| pending.intended_ns),
                Some(id)
            );
        }
        assert_eq!(
            (line.unanswered(), line.pending.len(), line.first_id),
            (0, 0, 4)
        );
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_told() {
        let mut line = line(2);
        assert!(line.on_answer(0).is_some());
        for id in [0, 2, u64::MAX] {
            assert_eq!(line.on_answer(id), None, "{id}");
        }
        assert_eq!(line.unanswered(), 1);
    }

    #[test]
    fn a_line_that_is_not_connected_has_no_room() {
        assert!(!line(0).has_room());
    }
}

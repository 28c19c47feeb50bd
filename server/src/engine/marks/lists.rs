//! The marks of a connection as two lists through the table: ready ones in the order in which they are served, resting ones in any.

use super::{Mark, MarkId, Marks, NONE, WaitId};

impl Marks {
    /// The ready marks of a connection, the next to be served first.
    pub(in crate::engine) fn ready(&self, wait: WaitId) -> impl Iterator<Item = MarkId> + '_ {
        let mut at = if wait.is_some() {
            self.waits[wait.0 as usize].ready_head
        } else {
            NONE
        };
        std::iter::from_fn(move || {
            let id = (at != NONE).then_some(MarkId(at))?;
            at = self.get(id).next;
            Some(id)
        })
    }

    /// All marks of a connection, ready and resting.
    pub(in crate::engine) fn of(&self, wait: WaitId) -> impl Iterator<Item = MarkId> + '_ {
        let mut at = if wait.is_some() {
            self.waits[wait.0 as usize].resting_head
        } else {
            NONE
        };
        let resting = std::iter::from_fn(move || {
            let id = (at != NONE).then_some(MarkId(at))?;
            at = self.get(id).next;
            Some(id)
        });
        self.ready(wait).chain(resting)
    }

    pub(super) fn link_ready(&mut self, wait: WaitId, id: u32) {
        let wait = &mut self.waits[wait.0 as usize];
        let old_tail = std::mem::replace(&mut wait.ready_tail, id);
        if old_tail == NONE {
            wait.ready_head = id;
        }
        self.join(old_tail, id);
        self.join(id, NONE);
    }

    /// Takes a mark out of the list it is in.
    pub(super) fn unlink(&mut self, wait: WaitId, id: MarkId) {
        let Mark {
            prev,
            next,
            is_resting,
            ..
        } = *self.get(id);
        let wait = &mut self.waits[wait.0 as usize];
        let head = if is_resting {
            &mut wait.resting_head
        } else {
            &mut wait.ready_head
        };
        debug_assert!(
            prev != NONE || *head == id.0,
            "a mark without a predecessor is its list's head"
        );
        if *head == id.0 {
            *head = next;
        }
        if !is_resting && wait.ready_tail == id.0 {
            wait.ready_tail = prev;
        }
        self.join(prev, next);
        self.resting -= usize::from(is_resting);
    }

    /// Makes two places neighbours; either may be the end of a list.
    pub(super) fn join(&mut self, before: u32, after: u32) {
        if let Some(mark) = self.marks.get_mut(before as usize) {
            mark.next = after;
        }
        if let Some(mark) = self.marks.get_mut(after as usize) {
            mark.prev = before;
        }
    }
}

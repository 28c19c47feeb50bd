//! Subscribers with the same topics, and the buffer that the next `send` takes to each of them.

use fanfare_wire::frame::{self, Opcode};
use std::collections::HashMap;

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    by_list: HashMap<String, usize>,
    by_topic: HashMap<String, Vec<usize>>,
    dirty: Vec<usize>,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<usize>,
    buffer: Vec<u8>,
}

impl Groups {
    /// A peer subscribes to a list of names with commas between them.
    pub(super) fn join(&mut self, peer: usize, list: &str) {
        let group = match self.by_list.get(list) {
            Some(group) => *group,
            None => self.add(list),
        };
        self.all[group].members.push(peer);
    }

    fn add(&mut self, list: &str) -> usize {
        let group = self.all.len();
        self.all.push(Group::default());
        self.by_list.insert(list.to_owned(), group);
        for name in list.split(',') {
            let groups = self.by_topic.entry(name.to_owned()).or_default();
            groups.push(group);
        }
        group
    }

    /// The peer is gone.
    pub(super) fn leave(&mut self, peer: usize) {
        for group in &mut self.all {
            group.members.retain(|member| *member != peer);
        }
    }

    /// Appends a payload as a frame to the buffer of each group that has the topic.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) {
        for number in self.by_topic.get(topic).into_iter().flatten() {
            let group = &mut self.all[*number];
            if group.buffer.is_empty() {
                self.dirty.push(*number);
            }
            frame::put_frame(&mut group.buffer, Opcode::Text, payload);
        }
    }

    /// What is to be sent, and to whom.
    pub(super) fn dirty(&self) -> impl Iterator<Item = (&[u8], &[usize])> {
        self.dirty.iter().map(|number| {
            let group = &self.all[*number];
            (&*group.buffer, &*group.members)
        })
    }

    /// Everything has been sent.
    pub(super) fn clean(&mut self) {
        for number in self.dirty.drain(..) {
            self.all[number].buffer.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_the_same_topics_share_a_buffer() {
        let mut groups = Groups::default();
        for (peer, list) in [(1, "a,b"), (2, "a,b"), (3, "b")] {
            groups.join(peer, list);
        }
        groups.publish("a", b"1");
        groups.publish("b", b"2");
        groups.publish("c", b"3");
        let sent = |groups: &Groups| -> Vec<(usize, Vec<usize>)> {
            let dirty = groups.dirty();
            dirty
                .map(|(buffer, members)| (buffer.len(), members.to_vec()))
                .collect()
        };
        // A frame of one byte takes three.
        assert_eq!(sent(&groups), [(6, vec![1, 2]), (3, vec![3])]);
        groups.clean();
        assert_eq!(sent(&groups), []);
        groups.leave(2);
        groups.publish("a", b"1");
        assert_eq!(sent(&groups), [(3, vec![1])]);
    }
}

//! Subscriptions of one worker that were cut off and go on where they stood: what to ask for, and
//! how long it takes until all that was missed is there.

use crate::latency::Latency;
use crate::verify::Cursor;
use fanfare_wire::command::Since;
use std::borrow::Cow;
use std::collections::HashMap;

/// The recoveries of one worker. Empty unless connections are cut to resume.
#[derive(Debug, Default)]
pub struct Recovery {
    /// By topic, as the last ack named it.
    epochs: HashMap<u32, Box<str>>,
    /// When the connections were cut.
    cut_ns: Option<u64>,
    /// Subscriptions to which history is owed.
    under_way: u64,
    /// From the cut to the last of the history, for each subscription.
    pub latency: Latency,
}

impl Recovery {
    /// An ack has named the epoch of a topic.
    pub fn on_epoch(&mut self, topic: Option<u32>, epoch: &str) {
        let Some(topic) = topic else { return };
        match self.epochs.get_mut(&topic) {
            Some(known) if **known == *epoch => {}
            Some(known) => *known = epoch.into(),
            None => drop(self.epochs.insert(topic, epoch.into())),
        }
    }

    /// Where a subscription is to go on; `None` if it begins anew.
    pub fn since(&self, cursor: &Cursor) -> Option<Since<'_>> {
        if !cursor.is_away() {
            return None;
        }
        let epoch = self.epochs.get(&cursor.topic)?;
        Some(Since {
            epoch: Cow::Borrowed(epoch),
            seq: cursor.last(),
        })
    }

    /// The connection of this subscription is cut.
    pub fn on_cut(&mut self, cursor: &mut Cursor, at_ns: u64) {
        self.cut_ns = Some(at_ns);
        self.on_lost(cursor);
    }

    /// The connection of this subscription is gone: what it was owed will not come.
    pub fn on_lost(&mut self, cursor: &mut Cursor) {
        self.under_way -= u64::from(cursor.is_recovering());
        cursor.forgive_owed();
    }

    /// The subscription has heard something.
    pub fn on_step(&mut self, before: &Cursor, after: &Cursor, at_ns: u64) {
        let (was, is) = (before.is_recovering(), after.is_recovering());
        self.under_way -= u64::from(was);
        self.under_way += u64::from(is);
        let is_back = !is && (was || before.is_away()) && after.is_acked();
        if let Some(cut_ns) = self.cut_ns.filter(|_| is_back) {
            self.latency.record_between(cut_ns, at_ns);
        }
    }

    /// Whether nobody is owed any history.
    pub fn is_done(&self) -> bool {
        self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_ends_with_its_last_history_frame() {
        let mut recovery = Recovery::default();
        let mut cursor = Cursor::new(3);
        cursor.on_ack(7, None).unwrap();
        recovery.on_epoch(Some(3), "k3f");
        assert_eq!(recovery.since(&cursor), None);
        recovery.on_cut(&mut cursor, 100);
        assert!(cursor.suspend());
        let since = recovery.since(&cursor).unwrap();
        assert_eq!((&*since.epoch, since.seq), ("k3f", 7));
        let mut hear = |recovery: &mut Recovery, at_ns, judge: &dyn Fn(&mut Cursor)| {
            let before = cursor;
            judge(&mut cursor);
            recovery.on_step(&before, &cursor, at_ns);
        };
        hear(&mut recovery, 200, &|cursor| {
            cursor.on_ack(9, Some(2)).map(drop).unwrap();
        });
        hear(&mut recovery, 300, &|cursor| {
            cursor.on_history(8).map(drop).unwrap();
        });
        assert!(!recovery.is_done());
        hear(&mut recovery, 400, &|cursor| {
            cursor.on_history(9).map(drop).unwrap();
        });
        assert!(recovery.is_done());
        let quantiles = recovery.latency.quantiles();
        assert_eq!((quantiles.count, quantiles.max_ns), (1, 300));
    }
}

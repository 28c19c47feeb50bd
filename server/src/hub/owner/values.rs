//! Values: numbering them, keeping the last and what the rules say of those before, and giving out what was missed.

use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::GapWhy;

use super::{FULL, Owner};
use crate::hub::broken::{self, Break};
use crate::hub::mail::{Delivery, Missed, Most, Outgoing, Page};
use crate::hub::update::{Payload, Update};

const CROWDED: (ErrorCode, &str) = (
    ErrorCode::PayloadLimit,
    "the server has no room for more values (--max-kept-bytes)",
);

impl Owner {
    pub(super) fn publish(
        &mut self,
        name: Arc<str>,
        payload: Payload,
        key: Option<Box<str>>,
        wall_us: i64,
        out: &mut Outgoing,
    ) -> Result<u64, (ErrorCode, &'static str)> {
        if let Some(key) = &key
            && let Some(seq) = self.keys.find(&name, key, wall_us)
        {
            return Ok(seq);
        }
        self.judge_room(&name, &payload)?;
        let index = self.find_or_make(name).ok_or(FULL)?;
        let topic = &mut self.topics[index];
        if topic.seq == 0 && !broken::is(Break::BirthMissed) {
            for shard in self.watches.interested(&topic.name) {
                topic.tell_born(shard, out);
            }
        }
        if broken::is(Break::AnsweredOnly) && topic.seq % 8 == 7 {
            return Ok(topic.seq + 1);
        }
        topic.seq += 1;
        self.published += 1;
        let seq = topic.seq;
        let (name, alias) = (topic.name.clone(), topic.alias);
        let update = Update::new(name, self.epoch.clone(), alias, seq, wall_us, payload);
        let update = Arc::new(update.compressing(self.threshold));
        #[cfg(test)]
        crate::hub::witness::see(&update);
        for &(shard, listener) in &topic.listeners {
            out.deliver(
                shard,
                Delivery::Update {
                    listener,
                    update: update.clone(),
                },
            );
        }
        let name = topic.name.clone();
        self.replace_last(index, update, wall_us);
        if let Some(key) = key {
            self.keys.remember(name, key, seq, wall_us);
        }
        Ok(seq)
    }

    /// Whether there is room for `payload` as the last value of `name`, once all history is gone.
    fn judge_room(&self, name: &str, payload: &Payload) -> Result<(), (ErrorCode, &'static str)> {
        let topic = self.by_name.get(name).map(|&index| &self.topics[index]);
        let before = topic.and_then(|topic| topic.last.as_ref());
        let freed = before.map_or(0, |last| last.charged_bytes());
        let wanted = self.last_bytes - freed + payload.charged_bytes(name, self.threshold);
        if wanted > self.kept_bytes_max {
            return Err(CROWDED);
        }
        Ok(())
    }

    /// The topic has a new last value; the one before it becomes history, as far as rules and room allow.
    fn replace_last(&mut self, index: usize, update: Arc<Update>, wall_us: i64) {
        self.last_bytes += update.charged_bytes();
        let topic = &mut self.topics[index];
        if let Some(before) = topic.last.replace(update) {
            self.last_bytes -= before.charged_bytes();
            if let Some(past) = &mut topic.past {
                self.archive.keep(past, index as u32, before, wall_us);
            }
        }
        while self.last_bytes + self.archive.bytes() > self.kept_bytes_max
            && let Some(oldest) = self.archive.oldest_topic()
            && let Some(past) = &mut self.topics[oldest as usize].past
        {
            self.archive.forget_oldest(past);
        }
    }

    /// What was published to `name` after `since`.
    pub(super) fn missed(&mut self, name: &str, since: u64, most: Most, wall_us: i64) -> Missed {
        let topic = self.by_name.get(name).map(|&index| &mut self.topics[index]);
        let seq = topic.as_ref().map_or(0, |topic| topic.seq);
        // A seq that was never given here is not of this epoch, whatever its name.
        let count = seq.checked_sub(since).ok_or(GapWhy::Epoch)?;
        let Some(topic) = topic.filter(|_| count > 0) else {
            return Ok(Vec::new());
        };
        if let Some(past) = &mut topic.past {
            self.archive.trim(past, wall_us);
        }
        let kept = topic.past.as_ref().map_or(0, |past| past.len());
        if count > u64::from(kept) + 1 {
            return Err(GapWhy::History);
        }
        if count > u64::from(most.count) {
            return Err(GapWhy::Overflow);
        }
        let past = topic.past.iter();
        let newest_first = topic
            .last
            .iter()
            .chain(past.flat_map(|past| self.archive.newest_first(past)));
        let mut bytes = 0;
        let mut missed = Vec::with_capacity(count as usize);
        for update in newest_first.take(count as usize) {
            bytes += update.payload_bytes() as u64;
            if bytes > most.bytes {
                return Err(GapWhy::Overflow);
            }
            missed.push(update.clone());
        }
        missed.reverse();
        Ok(missed)
    }

    /// What is kept of `name` after `since`, the oldest first, as far as `most` goes; at least one update, however large.
    pub(super) fn page(&mut self, name: &str, since: u64, most: Most, wall_us: i64) -> Page {
        let topic = self.by_name.get(name).map(|&index| &mut self.topics[index]);
        let Some(topic) = topic else {
            return Page {
                seq: 0,
                oldest: 1,
                updates: Vec::new(),
            };
        };
        if let Some(past) = &mut topic.past {
            self.archive.trim(past, wall_us);
        }
        let past_count = topic.past.as_ref().map_or(0, |past| past.len());
        let kept = u64::from(past_count) + u64::from(topic.last.is_some());
        let oldest = topic.seq - kept + 1;
        let first = since.saturating_add(1).max(oldest);
        let last = topic
            .seq
            .min(first.saturating_add(u64::from(most.count)) - 1);
        let past = topic.past.iter();
        let newest_first = topic
            .last
            .iter()
            .chain(past.flat_map(|past| self.archive.newest_first(past)));
        let wanted = newest_first
            .skip_while(|update| update.seq > last)
            .take_while(|update| update.seq >= first);
        let mut updates: Vec<Arc<Update>> = wanted.cloned().collect();
        updates.reverse();
        let mut bytes = 0;
        let mut fits = |update: &Arc<Update>| {
            bytes += update.payload_bytes() as u64;
            bytes <= most.bytes
        };
        let count = updates
            .iter()
            .map_while(|update| fits(update).then_some(()))
            .count();
        updates.truncate(count.max(1));
        Page {
            seq: topic.seq,
            oldest,
            updates,
        }
    }
}

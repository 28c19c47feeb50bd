//! What a share of the connections does: join, leave, churn, be cut off. Those that leave are taken
//! round robin, so that each leaves at most once a pass.

use super::{Fleet, Job, Stage, WorkerReport};
use crate::class::Class;
use crate::clock;
use crate::phase::Pace;
use mio::Registry;

impl Fleet {
    /// Those that were never open, and those that are away.
    pub(super) fn begin_joining(&mut self, pace: &Pace, batches: usize) {
        self.subscriptions.stop_drain();
        self.set_batches(batches);
        let is_out = |slot: &u32| {
            let stage = self.members[*slot as usize].stage;
            matches!(stage, Stage::Vacant | Stage::Away)
        };
        let slots = (0..self.members.len() as u32).filter(is_out).collect();
        self.drive = Some(self.drive(Job::Join, slots, pace));
    }

    pub(super) fn begin_leaving(&mut self, pace: &Pace, percent: f64) {
        self.subscriptions.stop_drain();
        let slots = self.in_turn(self.share(percent));
        self.drive = Some(self.drive(Job::Leave, slots, pace));
    }

    pub(super) fn begin_churn(&mut self, pace: &Pace, end_ns: u64) {
        self.subscriptions.stop_drain();
        self.set_batches(self.batches_in_force);
        let slots = self.in_turn(self.members.len());
        let drive = self.drive(Job::Churn, slots, pace).until(end_ns);
        // The next churn goes on where this one ends.
        let begun = drive.not_begun() as usize;
        self.hand = ((self.hand as usize + begun) % self.members.len().max(1)) as u32;
        self.drive = Some(drive);
    }

    pub(super) fn begin_storm(&mut self, pace: &Pace, percent: f64) {
        self.subscriptions.stop_drain();
        self.set_batches(self.batches_in_force);
        let mut slots = self.in_turn(self.share(percent));
        let resumes = self.plan.readers.cut_after.is_some();
        if resumes {
            slots.retain(|slot| self.members[*slot as usize].class == Class::Healthy);
        }
        for slot in &slots {
            if let Some(link) = self.members[*slot as usize].link.take() {
                link.cut();
            }
            self.figures.left += 1;
            if resumes {
                let client = self.client(*slot);
                self.subscriptions.suspend(client, pace.start_ns);
                self.vacate(*slot);
            } else {
                self.on_left(*slot);
            }
            self.members[*slot as usize].stage = Stage::Vacant;
            self.joining.insert(*slot, pace.start_ns);
        }
        self.drive = Some(self.drive(Job::Join, slots, pace));
    }

    pub(super) fn join(&mut self, slot: u32, registry: &Registry) {
        match self.members[slot as usize].stage {
            Stage::Vacant | Stage::Away => {
                self.joining.entry(slot).or_insert_with(clock::monotonic_ns);
                self.connect(slot, registry);
            }
            // The server has ended it meanwhile, which is booked.
            _ => self.settle(),
        }
    }

    /// The first time a slot is due it leaves, the next time it comes back.
    pub(super) fn churn(&mut self, slot: u32, registry: &Registry) {
        match self.members[slot as usize].stage {
            Stage::Subscribed => self.close(slot),
            _ => self.join(slot, registry),
        }
    }

    /// The connection has ended by our will.
    pub(super) fn on_left(&mut self, slot: u32) {
        self.subscriptions.forget(self.client(slot));
        self.vacate(slot);
    }

    fn vacate(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        member.stage = Stage::Away;
        member.attempts = 0;
        member.unanswered = 0;
    }

    /// The books as they stand.
    pub fn hand_over(&mut self, audit: bool) -> WorkerReport {
        self.give_up();
        (self.report.missing, self.report.verified) = (0, 0);
        if audit {
            for slot in 0..self.members.len() as u32 {
                if self.members[slot as usize].stage != Stage::Away {
                    let (missing, verified) = self.subscriptions.audit(slot, self.batches_in_force);
                    self.report.missing += missing;
                    self.report.verified += verified;
                }
            }
        }
        let figures = self.figures();
        self.report.hand_over(&mut self.subscriptions, &figures)
    }

    pub(super) fn set_batches(&mut self, batches: usize) {
        self.batches = 0..batches;
        self.batches_in_force = batches;
    }

    /// This worker's part of a share of all connections: over all workers the parts make the whole.
    fn share(&self, percent: f64) -> usize {
        let whole = (f64::from(self.plan.connections) * percent / 100.0).round() as usize;
        part(whole, self.index, self.plan.workers as usize)
    }

    /// The next so many connections that are held, beginning with the one whose turn it is.
    fn in_turn(&mut self, count: usize) -> Vec<u32> {
        let all = self.members.len() as u32;
        let round = (self.hand..all).chain(0..self.hand);
        let is_held = |slot: &u32| self.members[*slot as usize].stage == Stage::Subscribed;
        let slots: Vec<u32> = round.filter(is_held).take(count).collect();
        if let Some(last) = slots.last().filter(|_| count < all as usize) {
            self.hand = (last + 1) % all;
        }
        slots
    }
}

/// The part of member `index`: as even as whole numbers can be.
fn part(whole: usize, index: usize, members: usize) -> usize {
    whole * (index + 1) / members - whole * index / members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    /// Ten connections of one topic, all subscribed as far as the tables know.
    fn fleet() -> Fleet {
        let mut fleet = Fleet::new(plan("--connections 10 --workers 1").unwrap().into(), 0);
        fleet.batches_in_force = 1;
        for member in &mut fleet.members {
            member.stage = Stage::Subscribed;
        }
        fleet
    }

    const AT_ONCE: Pace = Pace {
        start_ns: 7,
        per_s: 0.0,
        in_flight_max: 4,
        answer_timeout_ns: 1_000,
    };

    #[test]
    fn shares_are_taken_round_robin_and_pass_over_those_that_are_away() {
        let mut fleet = fleet();
        assert_eq!(fleet.in_turn(4), [0, 1, 2, 3]);
        fleet.members[5].stage = Stage::Away;
        assert_eq!(fleet.in_turn(4), [4, 6, 7, 8]);
        assert_eq!(fleet.in_turn(4), [9, 0, 1, 2]);
    }

    #[test]
    fn a_storm_cuts_its_share_and_counts_their_subscriptions_as_missing_until_they_are_back() {
        let mut fleet = fleet();
        fleet.begin_storm(&AT_ONCE, 30.0);
        assert_eq!((fleet.figures.left, fleet.joining.len()), (3, 3));
        assert_eq!(fleet.joining.get(&2), Some(&7));
        let is_out = |member: &&crate::worker::fleet::Member| member.stage == Stage::Vacant;
        assert_eq!(fleet.members.iter().filter(is_out).count(), 3);
        assert!(!fleet.is_settled());
        // Given up now, they are missing; and nobody else was ever acknowledged here.
        assert_eq!(fleet.hand_over(true).missing, 10);
        assert!(fleet.joining.is_empty());
    }

    #[test]
    fn those_that_are_away_miss_nothing_and_join_again() {
        let mut fleet = fleet();
        (0..3).for_each(|slot| fleet.on_left(slot));
        assert_eq!(fleet.hand_over(true).missing, 7);
        fleet.begin_joining(&AT_ONCE, 1);
        assert_eq!(fleet.drive.as_ref().map(|drive| drive.not_begun()), Some(3));
    }

    #[test]
    fn parts_make_the_whole() {
        for (whole, members) in [(0, 3), (1, 3), (20, 3), (200_000, 53), (52, 53)] {
            let parts: Vec<usize> = (0..members).map(|n| part(whole, n, members)).collect();
            assert_eq!(parts.iter().sum::<usize>(), whole);
            let (least, most) = (parts.iter().min(), parts.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{parts:?}");
        }
    }
}

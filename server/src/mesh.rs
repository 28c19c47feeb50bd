//! Mail between shards: bounded, in order, one wake a tick.
//!
//! A shard gathers what it writes during a tick and hands it over as one batch per addressee: the lock is held for
//! pushing one `Vec`, and an addressee that is awake anyway costs no system call. A lane that is full refuses the batch; the
//! writer keeps it, holds back those who cause more, and tries again. Nothing is dropped.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::hub::mail::{Delivery, Letter, Mail, Request, ShardId};

/// A lane that holds letters of this [weight](Letter::weight) takes no further batch: so many small ones, or 16 MiB of values.
pub const LANE_LETTERS_MAX: usize = 65_536;

/// Wakes a shard from its poll.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The mailboxes of all shards.
pub struct Mesh {
    boxes: Vec<Mailbox>,
    stopping: AtomicBool,
}

struct Mailbox {
    requests: Lane<Request>,
    deliveries: Lane<Delivery>,
    /// Set by the owner right before it sleeps: whoever clears it must wake it.
    asleep: AtomicBool,
    wake: Wake,
}

struct Lane<T> {
    batches: Mutex<Vec<Vec<T>>>,
    /// The weight of all letters.
    letters: AtomicUsize,
}

impl Mesh {
    /// One mailbox for each waker, in the order of the shards' numbers.
    #[must_use]
    pub fn new(wakers: Vec<Wake>) -> Mesh {
        let boxes = wakers.into_iter().map(|wake| Mailbox {
            requests: Lane::default(),
            deliveries: Lane::default(),
            asleep: AtomicBool::new(false),
            wake,
        });
        Mesh {
            boxes: boxes.collect(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Hands mail over; returns what did not fit, to be kept and tried again.
    #[must_use]
    pub fn post(&self, to: ShardId, mail: Mail) -> Mail {
        let mailbox = self.mailbox(to);
        let requests = mailbox.requests.push(mail.requests);
        let deliveries = mailbox.deliveries.push(mail.deliveries);
        if mailbox.asleep.swap(false, Ordering::SeqCst) {
            (mailbox.wake)();
        }
        Mail {
            requests,
            deliveries,
        }
    }

    /// Takes what has come for `me`, batch by batch; the requests stay where they are unless asked for.
    #[must_use]
    pub fn take(&self, me: ShardId, with_requests: bool) -> Vec<Mail> {
        let mailbox = self.mailbox(me);
        let mut mail: Vec<Mail> = Vec::new();
        for deliveries in mailbox.deliveries.take() {
            mail.push(Mail {
                requests: Vec::new(),
                deliveries,
            });
        }
        if with_requests {
            for requests in mailbox.requests.take() {
                mail.push(Mail {
                    requests,
                    deliveries: Vec::new(),
                });
            }
        }
        mail
    }

    /// To be called right before `me` sleeps. False: there is mail, do not sleep.
    #[must_use]
    pub fn fall_asleep(&self, me: ShardId, with_requests: bool) -> bool {
        let mailbox = self.mailbox(me);
        mailbox.asleep.store(true, Ordering::SeqCst);
        let mail =
            !mailbox.deliveries.is_empty() || (with_requests && !mailbox.requests.is_empty());
        if mail {
            mailbox.asleep.store(false, Ordering::SeqCst);
        }
        !mail
    }

    /// To be called after `me` has slept: nobody needs to wake it now.
    pub fn wake_up(&self, me: ShardId) {
        self.mailbox(me).asleep.store(false, Ordering::SeqCst);
    }

    /// Tells all shards to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for mailbox in &self.boxes {
            (mailbox.wake)();
        }
    }

    /// Whether the shards are to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn mailbox(&self, shard: ShardId) -> &Mailbox {
        &self.boxes[usize::from(shard.0)]
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane {
            batches: Mutex::default(),
            letters: AtomicUsize::new(0),
        }
    }
}

impl<T: Letter> Lane<T> {
    /// Takes a batch in; gives it back when the lane is full.
    fn push(&self, batch: Vec<T>) -> Vec<T> {
        if batch.is_empty() || self.letters.load(Ordering::Acquire) >= LANE_LETTERS_MAX {
            return batch;
        }
        let letters = batch.iter().map(Letter::weight).sum();
        let mut batches = self.lock();
        batches.push(batch);
        // Writer: count, then look whether the owner sleeps. Owner: say so, then look at the count. One of the two must see
        // the other, which only SeqCst on all four promises.
        self.letters.fetch_add(letters, Ordering::SeqCst);
        Vec::new()
    }

    fn take(&self) -> Vec<Vec<T>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut batches = self.lock();
        self.letters.store(0, Ordering::Release);
        std::mem::take(&mut *batches)
    }

    fn is_empty(&self) -> bool {
        self.letters.load(Ordering::SeqCst) == 0
    }

    /// No code that can panic runs under the lock, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::mail::{Reply, Ticket};
    use crate::hub::update::{Form, Payload};
    use std::sync::Arc;

    fn mesh_of_one() -> (Mesh, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        let wake = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        (Mesh::new(vec![wake]), wakes)
    }

    fn request(part: u32) -> Request {
        Request::Check {
            topic: "A".into(),
            answer: Ticket {
                shard: ShardId(0),
                ask: 0,
                part,
            },
        }
    }

    fn letters(part: std::ops::Range<u32>) -> Mail {
        Mail {
            requests: part.map(request).collect(),
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let (mesh, wakes) = mesh_of_one();
        let me = ShardId(0);
        assert!(mesh.post(me, letters(0..1)).is_empty());
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        assert!(!mesh.fall_asleep(me, true), "mail is there: do not sleep");
        assert_eq!(mesh.take(me, true).len(), 1);
        assert!(mesh.fall_asleep(me, true));
        assert!(mesh.post(me, letters(0..1)).is_empty());
        assert!(mesh.post(me, letters(1..2)).is_empty());
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_full_lane_gives_the_batch_back_and_keeps_what_it_has_in_order() {
        let (mesh, _) = mesh_of_one();
        let me = ShardId(0);
        assert!(
            mesh.post(me, letters(0..LANE_LETTERS_MAX as u32))
                .is_empty()
        );
        let refused = mesh.post(me, letters(7..9));
        assert_eq!(refused.requests.len(), 2);
        assert!(
            mesh.take(me, false).is_empty(),
            "requests are taken only when asked for"
        );
        let parts: Vec<u32> = (mesh.take(me, true).into_iter())
            .flat_map(|mail| mail.requests)
            .map(|request| match request {
                Request::Check { answer, .. } => answer.part,
                _ => u32::MAX,
            })
            .collect();
        assert!(parts.iter().copied().eq(0..LANE_LETTERS_MAX as u32));
        assert!(mesh.post(me, refused).is_empty());
    }

    #[test]
    fn a_lane_is_full_of_few_letters_if_they_are_large() {
        let (mesh, _) = mesh_of_one();
        let me = ShardId(0);
        let large = || Request::Publish {
            topic: "A".into(),
            payload: Payload::new(Form::Binary, &[0; 1 << 20]),
            key: None,
            reply: Reply::None,
        };
        let mail = || Mail {
            requests: vec![large()],
            deliveries: Vec::new(),
        };
        let taken = (0..1000).take_while(|_| mesh.post(me, mail()).is_empty());
        assert_eq!(taken.count(), 16);
    }
}

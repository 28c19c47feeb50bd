//! Running figures that the coordinator may look at while a member works: for the progress line,
//! the connect curve, and to see whether anything still moves. Each member writes its own; nothing
//! here decides a verdict.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The figures of one member, shared. On cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Tally {
            $($name: AtomicU64,)*
        }

        /// The figures at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Figures {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Tally {
            /// Shows these figures from now on.
            pub fn show(&self, figures: &Figures) {
                $(self.$name.store(figures.$name, Relaxed);)*
            }

            /// The figures that were shown last.
            pub fn look(&self) -> Figures {
                Figures { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl std::iter::Sum for Figures {
            fn sum<I: Iterator<Item = Figures>>(parts: I) -> Figures {
                parts.fold(Figures::default(), |sum, part| Figures { $($name: sum.$name.saturating_add(part.$name),)* })
            }
        }
    };
}

figures! {
    /// Handshakes completed.
    opened,
    /// Connections given up after all attempts.
    failed,
    /// Connections that wait for the server.
    in_flight,
    /// Connections that the server ended.
    disconnected,
    /// Connections whose subscriptions are all answered.
    subscribed,
    /// Updates received in their turn or late.
    delivered,
    /// Seqs announced as skipped or in gaps.
    left_out,
    /// Bytes received.
    bytes_in,
    /// Updates handed to the socket.
    published,
    /// Updates that the server has taken.
    acked,
    /// Connections that have answered our close.
    closed,
    /// Open connections that we have ended, with or without a word.
    left,
}

impl Figures {
    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.disconnected + self.left)
    }

    /// Changes whenever anything succeeds; while it stays the same, nothing moves.
    pub fn successes(&self) -> u64 {
        let Figures {
            opened,
            subscribed,
            delivered,
            left_out,
            acked,
            closed,
            ..
        } = self;
        let parts = [opened, subscribed, delivered, left_out, acked, closed];
        parts
            .into_iter()
            .fold(0, |sum: u64, part| sum.wrapping_add(*part))
    }
}

//! Does every subscriber get every update, once and in order? Each subscription keeps a [`Cursor`]
//! (24 bytes and two counts); a [`Ledger`] a worker holds totals, the holes that a late update may
//! still fill, and the first few faults in words. Knows nothing of sockets or of frames.

mod cursor;
mod ledger;

pub use cursor::{Cursor, Fault, Step};
pub use ledger::{Examples, Ledger, Subscriber, Totals};

#[cfg(test)]
mod stream_tests;

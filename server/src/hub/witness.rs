//! Test only: sees every update as its owner numbers it, so that a simulation knows the truth without asking anybody.

use std::cell::RefCell;
use std::sync::Arc;

use super::update::Update;

thread_local! {
    static SEEN: RefCell<Vec<Arc<Update>>> = const { RefCell::new(Vec::new()) };
}

/// An owner has numbered an update.
pub(super) fn see(update: &Arc<Update>) {
    SEEN.with_borrow_mut(|seen| seen.push(update.clone()));
}

/// Takes what was seen on this thread since.
pub(crate) fn take() -> Vec<Arc<Update>> {
    SEEN.take()
}

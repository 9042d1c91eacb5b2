//! The bodies on real git and a real shell: what hosts did to those who came before.

mod asking;
mod git;
mod place;
mod service;
mod twice;

use fleet_types::{AttemptStatus, Outcome, Reason};

use self::place::Place;
use crate::support::assert_ended;

/// The attempt failed and said so, and nothing ran on the host that changes it.
#[track_caller]
fn assert_untouched(place: &Place, outcome: &Outcome, reason: Reason, said: &str) {
    assert_ended(outcome, AttemptStatus::Failed, reason);
    assert!(!outcome.touched && !outcome.needs_attention, "{outcome:?}");
    assert!(outcome.message.contains(said), "{outcome:?}");
    assert!(place.acts().is_empty(), "{:?}", place.acts());
    assert_eq!(place.read("state/running"), "one");
}

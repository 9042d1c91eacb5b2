//! The store's calls as moments, with the kinds of events that they write: `rollout_create`, `stage.finished`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_store::{CallFault, CallMoment, CallWatch};

use super::{ARMED, Moment};

/// Which call: its name, or the kind of an event that it writes, and the how many-th of those.
#[derive(Debug)]
pub(super) struct Which {
    pub(super) name: String,
    pub(super) number: usize,
    seen: AtomicUsize,
}

impl Which {
    /// `NAME` or `NAME#2`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, number) = match text.split_once('#') {
            Some((name, number)) => (name, number.parse().ok().filter(|number| *number > 0)?),
            None => (text, 1),
        };
        (!name.is_empty()).then(|| Self {
            name: name.to_owned(),
            number,
            seen: AtomicUsize::new(0),
        })
    }

    fn comes(&self) -> bool {
        self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.number
    }
}

#[derive(Debug)]
struct Watch;

/// Watches the stores that are opened from now on. False when another watch is set.
pub(super) fn watch() -> bool {
    fleet_store::watch_calls(Arc::new(Watch))
}

impl CallWatch for Watch {
    fn begins(&self, _: &str) -> Option<CallFault> {
        None
    }

    fn at(&self, call: &str, moment: CallMoment, events: &[String]) {
        let Some(armed) = ARMED.get() else { return };
        if let Some(which) = &armed.call
            && armed.moment == moment_of(moment)
            && (which.name == call || events.contains(&which.name))
            && which.comes()
        {
            armed.spring_once(&which.name);
        }
    }
}

fn moment_of(moment: CallMoment) -> Moment {
    match moment {
        CallMoment::Before => Moment::Before,
        CallMoment::Open => Moment::Open,
        CallMoment::After => Moment::After,
    }
}

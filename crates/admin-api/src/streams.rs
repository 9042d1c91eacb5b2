//! How many streams are open: not more than this process bears, and not all of them one caller's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open event streams and waiting requests, by caller.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    most: usize,
    most_of_one: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<String, usize>,
}

/// A place for one stream; given back when dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    streams: Streams,
    caller: String,
}

impl Streams {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            most,
            most_of_one,
            open: Arc::default(),
        }
    }

    /// A place, if there is one left for this caller.
    pub(crate) fn take(&self, caller: String) -> Option<StreamPlace> {
        let mut open = self.open();
        let theirs = open.of.get(&caller).copied().unwrap_or(0);
        if open.all >= self.most || theirs >= self.most_of_one {
            return None;
        }
        open.all += 1;
        open.of.insert(caller.clone(), theirs + 1);
        drop(open);
        Some(StreamPlace {
            streams: self.clone(),
            caller,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.all = open.all.saturating_sub(1);
        match open.of.get_mut(&self.caller) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.of.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() {
        let streams = Streams::new(5, 2);
        let take = |name: &str| streams.take(name.to_owned());
        let anna = [take("anna").unwrap(), take("anna").unwrap()];
        assert!(take("anna").is_none());
        let _bob = [take("bob").unwrap(), take("bob").unwrap()];
        let carl = take("carl").unwrap();
        assert!(take("dora").is_none(), "all are taken");
        drop(anna);
        let _dora = take("dora").unwrap();
        let _anna = take("anna").unwrap();
        assert!(take("carl").is_none());
        drop(carl);
        assert!(take("carl").is_some());
        assert_eq!(streams.open().of.len(), 3, "who has none is not remembered");
    }
}

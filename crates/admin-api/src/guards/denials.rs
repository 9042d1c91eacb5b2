//! Denials go on record, but nobody fills the audit trail with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_store::{AdminStore, NewAudit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::problem::log_cause;

/// Addresses whose sign-ins are counted each by itself. Those of all others are counted together.
const SOURCES: usize = 200;

/// Whose denials are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Denied {
    /// Somebody who proved who they are: the scope of the caller.
    Caller(String),
    /// Signing in from an address.
    SignIn(String),
    /// Signing in from any address but those counted by themselves.
    SignInElsewhere,
    /// All who proved nothing.
    Strangers,
}

impl Denied {
    /// In each window so many denials get rows of their own, the others get one together.
    fn allowance(&self) -> (u32, Duration) {
        match self {
            Self::Caller(_) | Self::SignIn(_) | Self::SignInElsewhere => {
                (20, Duration::from_secs(600))
            }
            Self::Strangers => (60, Duration::from_secs(60)),
        }
    }
}

/// Writes denials to the audit trail, within bounds that hold for one process. A cheap handle: clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Denials {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn AdminStore>,
    stop: CancellationToken,
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    open: HashMap<Denied, Window>,
}

#[derive(Debug)]
struct Window {
    ends: Instant,
    rows: u32,
    left_out: Option<LeftOut>,
}

/// Denials without rows of their own.
#[derive(Debug)]
struct LeftOut {
    count: u64,
    last: NewAudit,
}

impl LeftOut {
    fn entry(self) -> NewAudit {
        let count = self.count;
        NewAudit {
            detail: Some(format!(
                "denials without rows of their own, up to this one: {count}"
            )),
            ..self.last
        }
    }
}

/// What is to be done about a denial.
#[derive(Debug, Default)]
struct Due {
    rows: Vec<NewAudit>,
    /// Whose window, which ends then, has to be closed.
    closes: Option<(Denied, Instant)>,
}

impl Denials {
    /// Denials for this store. When `stop` is cancelled, what was left out is written without waiting.
    pub(crate) fn new(store: Arc<dyn AdminStore>, stop: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                stop,
                windows: Mutex::default(),
            }),
        }
    }

    /// Puts a denial on record. That it cannot be is no reason to let anybody through, or to say so.
    pub(crate) async fn note(&self, whose: Denied, entry: NewAudit) {
        let due = self.inner.windows().count(Instant::now(), whose, entry);
        if let Some((whose, ends)) = due.closes {
            tokio::spawn(self.clone().close(whose, ends));
        }
        if due.rows.is_empty() {
            return;
        }
        // Who hangs up is not forgotten for that.
        let this = self.clone();
        let written = tokio::spawn(async move {
            for row in due.rows {
                this.write(row).await;
            }
        });
        if let Err(error) = written.await {
            log_cause("a denial could not be put on record", &error);
        }
    }

    /// Writes what was left out in a window when it ends, unless that has been done.
    async fn close(self, whose: Denied, ends: Instant) {
        tokio::select! {
            () = sleep_until(ends) => {}
            () = self.inner.stop.cancelled() => {}
        }
        let left_out = self.inner.windows().close(&whose, ends);
        if let Some(left_out) = left_out {
            self.write(left_out.entry()).await;
        }
    }

    async fn write(&self, entry: NewAudit) {
        if let Err(error) = self.inner.store.audit_note(entry).await {
            log_cause("a denial could not be put on record", &error);
        }
    }
}

impl Inner {
    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn count(&mut self, now: Instant, whose: Denied, entry: NewAudit) -> Due {
        let whose = self.counted_as(now, whose);
        let (most, length) = whose.allowance();
        let window = self.open.entry(whose.clone()).or_insert(Window {
            ends: now + length,
            rows: 0,
            left_out: None,
        });
        let mut due = Due::default();
        if now >= window.ends {
            due.rows.extend(window.left_out.take().map(LeftOut::entry));
            window.ends = now + length;
            window.rows = 0;
        }
        if window.rows < most {
            window.rows += 1;
            due.rows.push(entry);
        } else if let Some(left_out) = &mut window.left_out {
            left_out.count = left_out.count.saturating_add(1);
            left_out.last = entry;
        } else {
            window.left_out = Some(LeftOut {
                count: 1,
                last: entry,
            });
            due.closes = Some((whose, window.ends));
        }
        due
    }

    /// Forgets what is over, and counts sources that are too many together.
    fn counted_as(&mut self, now: Instant, whose: Denied) -> Denied {
        if self.open.contains_key(&whose) {
            return whose;
        }
        self.open
            .retain(|_, window| now < window.ends || window.left_out.is_some());
        let sources = self
            .open
            .keys()
            .filter(|whose| matches!(whose, Denied::SignIn(_)));
        if matches!(whose, Denied::SignIn(_)) && sources.count() >= SOURCES {
            return Denied::SignInElsewhere;
        }
        whose
    }

    /// What was left out in the window that ends then, if that is still open.
    fn close(&mut self, whose: &Denied, ends: Instant) -> Option<LeftOut> {
        let window = self
            .open
            .get_mut(whose)
            .filter(|window| window.ends == ends)?;
        window.left_out.take()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_store::Actor;
    use fleet_types::AuditResult;

    use super::*;

    fn entry(subject: &str) -> NewAudit {
        NewAudit {
            actor: Actor::new("vera", "10.0.0.1"),
            action: "access".to_owned(),
            subject: Some(subject.to_owned()),
            result: AuditResult::Denied,
            detail: Some("why".to_owned()),
        }
    }

    fn vera() -> Denied {
        Denied::Caller("vera".to_owned())
    }

    #[test]
    fn the_first_have_rows_and_the_others_one_together() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        let mut closes = Vec::new();
        let mut rows = 0;
        for number in 0..1000 {
            let due = windows.count(now, vera(), entry(&number.to_string()));
            rows += due.rows.len();
            closes.extend(due.closes);
        }
        assert_eq!((rows, closes.len()), (20, 1));
        // Others are not concerned.
        let due = windows.count(now, Denied::Caller("otto".to_owned()), entry("x"));
        assert_eq!(due.rows, [entry("x")]);
        let (whose, ends) = closes.pop().unwrap();
        let last = windows.close(&whose, ends).unwrap().entry();
        assert_eq!(last.subject.as_deref(), Some("999"));
        let detail = last.detail.unwrap();
        assert!(detail.ends_with(": 980"), "{detail}");
        assert!(windows.close(&whose, ends).is_none(), "told once");
    }

    #[test]
    fn the_next_window_begins_with_what_was_left_out() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        for _ in 0..30 {
            windows.count(now, vera(), entry("early"));
        }
        let later = now + Duration::from_secs(600);
        let due = windows.count(later, vera(), entry("late"));
        let subjects: Vec<_> = due
            .rows
            .iter()
            .map(|row| row.subject.as_deref().unwrap())
            .collect();
        assert_eq!(subjects, ["early", "late"]);
        assert!(due.rows[0].detail.as_deref().unwrap().ends_with(": 10"));
        assert!(
            windows.close(&vera(), later).is_none(),
            "the old window is over"
        );
    }

    #[test]
    fn sources_without_end_have_an_end() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        let mut rows = 0;
        for source in 0..10_000 {
            let whose = Denied::SignIn(source.to_string());
            rows += windows.count(now, whose, entry("x")).rows.len();
        }
        assert_eq!(rows, SOURCES + 20);
        assert!(windows.open.len() <= SOURCES + 1);
        // What is over is forgotten.
        let later = now + Duration::from_secs(601);
        let due = windows.count(later, Denied::SignIn("new".to_owned()), entry("x"));
        assert_eq!((due.rows.len(), windows.open.len()), (1, 2));
    }
}

//! One call as the watch sees it.

use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error};

use super::backend::Backend;
use super::work::Work;
use crate::crash_points::{CallFault, CallMoment, CallWatch};
use crate::error::StoreError;

/// A call under way.
pub(crate) struct Watched {
    watch: Arc<dyn CallWatch>,
    name: &'static str,
    fault: Option<CallFault>,
    events: Vec<String>,
}

impl Watched {
    /// Before anybody is asked.
    pub(crate) fn begin<F>(watch: &Arc<dyn CallWatch>) -> Self {
        let name = name::<F>();
        watch.at(name, CallMoment::Before, &[]);
        Self {
            fault: watch.begins(name),
            watch: Arc::clone(watch),
            name,
            events: Vec::new(),
        }
    }

    /// What the database says instead of running the body.
    pub(crate) fn error<B: Backend>(&mut self) -> Option<Error> {
        let fault = self.fault?;
        if !fault.lasts() {
            self.fault = None;
        }
        B::error_of(fault)
    }

    /// The body has run; the events from this one on are its own.
    pub(crate) fn open(&mut self, work: &Work, from: usize) {
        let events = work.events.iter().skip(from);
        self.events = events.map(|event| event.kind.clone()).collect();
        self.watch.at(self.name, CallMoment::Open, &self.events);
    }

    /// Whether the commit of what was done is to be refused, this once.
    pub(crate) fn refuses_commit(&mut self) -> bool {
        self.fault
            .take_if(|fault| *fault == CallFault::Uncommitted)
            .is_some()
    }

    /// All is durable; what the caller is told instead of that.
    pub(crate) fn close(&self) -> Option<StoreError> {
        self.watch.at(self.name, CallMoment::After, &self.events);
        (self.fault == Some(CallFault::LostAfter)).then(|| StoreError::Unavailable {
            cause: "the connection was lost by the test".to_owned(),
        })
    }
}

/// An error of the database.
pub(crate) fn error(kind: DatabaseErrorKind, message: &str) -> Option<Error> {
    Some(Error::DatabaseError(kind, Box::new(message.to_owned())))
}

/// The method in which a body was written: its type says so.
fn name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let last = path.rsplit("::").find(|part| !part.starts_with('{'));
    // Its lifetimes are part of the name.
    let last = last.unwrap_or(path).split('<').next();
    last.unwrap_or(path)
}

//! The store as one process of a test has it.

use std::fmt;
use std::sync::Arc;

use fleet_store::Store;

use crate::process::{Death, Process};

/// The store as one process has it: the calls count as this process's, and fail with it.
pub(crate) struct ProcessStore<S: ?Sized = dyn Store> {
    pub(crate) process: Process,
    pub(crate) inner: Arc<S>,
}

impl<S: ?Sized> ProcessStore<S> {
    pub(crate) fn new(process: &Process, inner: Arc<S>) -> Self {
        Self {
            process: process.clone(),
            inner,
        }
    }
}

impl<S: ?Sized> fmt::Debug for ProcessStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessStore")
    }
}

/// Each call; records of the journal are moments at which the process can die.
macro_rules! call {
    ($self:ident.attempt_record($lease:ident, $event:ident)) => {{
        let call = $self.process.call_begins().await?;
        let number = $self.process.next_record();
        $self.process.point(Death::BeforeRecord(number)).await;
        let answer = $self.inner.attempt_record($lease, $event).await;
        if answer.is_ok() {
            $self.process.keep($lease.host, $event);
        }
        $self.process.point(Death::AfterRecord(number)).await;
        $self.process.call_ends(call).await?;
        answer
    }};
    ($self:ident.health_due($worker:ident, $every:ident, $limit:ident, $turns:ident)) => {{
        let call = $self.process.call_begins().await?;
        let due = $self.inner.health_due($worker, $every, $limit, $turns).await;
        $self.process.call_ends(call).await?;
        for due in due.iter().flatten() {
            $self.process.note_turn(due.host.id, due.since);
        }
        due
    }};
    ($self:ident.rollout_leaves($id:ident, $worker:ident, $hosts:ident)) => {{
        let call = $self.process.call_begins().await?;
        let answer = $self.inner.rollout_leaves($id, $worker, $hosts).await;
        $self.process.note_ends()?;
        $self.process.call_ends(call).await?;
        answer
    }};
    ($self:ident.$method:ident($($arg:ident),*)) => {{
        let call = $self.process.call_begins().await?;
        let answer = $self.inner.$method($($arg),*).await;
        $self.process.call_ends(call).await?;
        answer
    }};
}

fleet_store::passing_store!(ProcessStore, call);
fleet_store::passing_health!(ProcessStore<dyn Health>, call);

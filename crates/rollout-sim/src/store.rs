//! The store as one process has it: the real one, whose calls fail and stand still with the process, and whose effects
//! the checker learns of even when the process does not.

use std::fmt;
use std::sync::Arc;

use fleet_store::{DieselStore, NewWorker};
use fleet_types::WorkerId;
use uuid::Uuid;

use crate::gate::Gate;
use crate::watch;

/// The store of one process.
pub(crate) struct SimStore {
    gate: Gate,
    inner: Arc<DieselStore>,
}

impl SimStore {
    pub(crate) fn new(gate: &Gate) -> Self {
        Self {
            gate: gate.clone(),
            inner: Arc::clone(&gate.world().store),
        }
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

/// The call, and what became of it for the checker, told before the process can die of it.
macro_rules! told {
    ($self:ident.$method:ident($($arg:expr),*), $tell:expr) => {{
        $self.gate.call_begins(stringify!($method)).await?;
        let answer = $self.inner.$method($($arg),*).await;
        $tell(&$self.gate, &answer).await;
        $self.gate.call_ends(stringify!($method)).await?;
        answer
    }};
}

/// Each call, by what the checker is to learn of it.
#[rustfmt::skip]
macro_rules! call {
    ($self:ident.host_add($hosts:ident, $actor:ident)) => {
        told!($self.host_add($hosts, $actor), watch::entered)
    };
    ($self:ident.host_remove($name:ident, $actor:ident)) => {
        told!($self.host_remove($name, $actor), |gate, answer| watch::removed(gate, $name, answer))
    };
    ($self:ident.rollout_create($plan:ident, $worker:ident)) => {{
        let drives = $worker.as_ref().map(|worker| worker.id);
        let request = $plan.request.clone();
        told!($self.rollout_create($plan, $worker), |gate, answer| watch::created(gate, drives, request, answer))
    }};
    ($self:ident.rollout_verb($id:ident, $verb:ident, $actor:ident)) => {
        told!($self.rollout_verb($id, $verb, $actor), |gate, answer| watch::verb(gate, $id, $verb, answer))
    };
    ($self:ident.rollout_resolve($id:ident, $target:ident)) => {
        told!($self.rollout_resolve($id, $target), watch::seen)
    };
    ($self:ident.rollout_advance($id:ident)) => {
        told!($self.rollout_advance($id), watch::seen)
    };
    ($self:ident.attempt_claim($rollout:ident, $worker:ident, $except:ident)) => {
        told!($self.attempt_claim($rollout, $worker, $except), watch::claimed)
    };
    ($self:ident.attempt_take_over($worker:ident, $except:ident)) => {
        told!($self.attempt_take_over($worker, $except), watch::taken_over)
    };
    ($self:ident.attempt_record($lease:ident, $event:ident)) => {
        told!($self.attempt_record($lease, $event), |gate, answer| watch::recorded(gate, $lease, $event, answer))
    };
    ($self:ident.attempt_raise($lease:ident, $above:ident)) => {
        told!($self.attempt_raise($lease, $above), |gate, answer| watch::raised(gate, $lease, answer))
    };
    ($self:ident.worker_register($worker:ident)) => {{
        let worker = named(&$self.gate, $worker);
        told!($self.worker_register(worker), watch::registered)
    }};
    ($self:ident.worker_renew($worker:ident)) => {
        told!($self.worker_renew($worker), |gate, answer| watch::renewed(gate, $worker, answer))
    };
    ($self:ident.worker_leave($worker:ident)) => {
        told!($self.worker_leave($worker), |gate, answer| watch::left(gate, $worker, answer))
    };
    ($self:ident.health_claim($worker:ident, $host:ident, $seen:ident)) => {
        told!($self.health_claim($worker, $host, $seen), watch::health_claimed)
    };
    ($self:ident.health_restart($lease:ident, $limit:ident)) => {
        told!($self.health_restart($lease, $limit), |gate, answer| watch::health_restart(gate, $lease, answer))
    };
    ($self:ident.health_raise($lease:ident, $on_record:ident)) => {
        told!($self.health_raise($lease, $on_record), |gate, answer| watch::health_raised(gate, $lease, answer))
    };
    ($self:ident.health_settle($lease:ident, $seen:ident, $restart:ident)) => {
        told!($self.health_settle($lease, $seen, $restart), |gate, answer| watch::health_settled(gate, $lease, answer))
    };
    ($self:ident.$method:ident($($arg:ident),*)) => {
        told!($self.$method($($arg),*), |_gate, _answer| async {})
    };
}

fleet_store::passing_store!(SimStore, call);
fleet_store::passing_health!(SimStore, call);

/// An id that is the same in every run, in place of one that the program drew.
fn named(gate: &Gate, worker: NewWorker) -> NewWorker {
    let number = u128::from(gate.world().next_worker());
    NewWorker {
        id: WorkerId(Uuid::from_u128((0xf0_u128 << 64) | number)),
        ..worker
    }
}

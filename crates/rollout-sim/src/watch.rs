//! Tells the checker what every call of the store did, with what the store says right afterwards.

use fleet_store::*;
use fleet_types::{HostEvent, HostName, RolloutId, Verb, WorkerId};

use crate::gate::Gate;

/// Calls straight to the store; it is in memory and always answers.
macro_rules! ask {
    ($gate:ident.$method:ident($($arg:expr),*)) => {
        match $gate.world().store.$method($($arg),*).await {
            Ok(answer) => answer,
            Err(error) => {
                let text = format!("the store itself failed: {error}");
                $gate.world().check(|checker| checker.violate("store", text));
                return;
            }
        }
    };
}

pub(crate) async fn entered(gate: &Gate, answer: &Result<Vec<HostRecord>, HostError>) {
    if let Ok(entries) = answer {
        gate.world().check(|checker| checker.entered(entries));
    }
}

pub(crate) async fn removed(gate: &Gate, name: &HostName, answer: &Result<(), HostError>) {
    if answer.is_ok() {
        gate.world().check(|checker| checker.removed(name.as_str()));
    }
}

pub(crate) async fn created(
    gate: &Gate,
    worker: Option<WorkerId>,
    request: Option<RequestKey>,
    answer: &Result<RolloutId, TriggerError>,
) {
    let world = gate.world();
    if let Some(request) = request {
        world.check(|checker| checker.asked(&request, answer));
    }
    let id = match answer {
        Ok(id) => *id,
        Err(error) => return world.note(format_args!("p{}: no rollout: {error}", gate.number())),
    };
    let Some(record) = ask!(gate.rollout_get(id)) else {
        return world.check(|checker| checker.violate("store", "a rollout is gone".to_owned()));
    };
    let attempts = ask!(gate.attempt_list(id));
    let all = ask!(gate.rollout_list(None, 100));
    world.note(format_args!(
        "p{}: rollout {} ({}) of {} hosts to {}",
        gate.number(),
        id.short(),
        record.kind,
        attempts.len(),
        record.target_ref
    ));
    world.coverage().total("rollouts");
    world.check(|checker| {
        if let Some(worker) = worker {
            checker.renewed(worker, gate);
        }
        checker.active(&all);
        checker.frozen(&record, &attempts);
    });
}

pub(crate) async fn seen(gate: &Gate, answer: &Result<RolloutRecord, StoreError>) {
    if let Ok(record) = answer {
        let fresh = gate.world().check(|checker| checker.seen(record));
        if fresh {
            gate.world().note(format_args!(
                "rollout {} is {}, stage {}",
                record.id.short(),
                record.state,
                record.stage
            ));
        }
    }
}

pub(crate) async fn verb(gate: &Gate, id: RolloutId, verb: Verb, answer: &Result<(), VerbError>) {
    let said = match answer {
        Ok(()) => "done".to_owned(),
        Err(error) => error.to_string(),
    };
    gate.world()
        .note(format_args!("{verb} of {}: {said}", id.short()));
    if let Some(record) = ask!(gate.rollout_get(id)) {
        seen(gate, &Ok(record)).await;
    }
    let all = ask!(gate.rollout_list(None, 100));
    gate.world().check(|checker| checker.active(&all));
}

pub(crate) async fn claimed(gate: &Gate, answer: &Result<Claim, LeaseError>) {
    let Ok(Claim::Claimed(claimed)) = answer else {
        return;
    };
    let id = claimed.lease.rollout;
    let Some(record) = ask!(gate.rollout_get(id)) else {
        return;
    };
    let attempts = ask!(gate.attempt_list(id));
    note_claim(gate, claimed, "claims");
    gate.world().check(|checker| {
        checker.claimed(claimed, gate);
        checker.may_claim(&record, claimed, &attempts);
    });
}

pub(crate) async fn taken_over(gate: &Gate, answer: &Result<Option<Claimed>, LeaseError>) {
    if let Ok(Some(claimed)) = answer {
        note_claim(gate, claimed, "takes over");
        gate.world().coverage().total("takeovers");
        gate.world()
            .check(|checker| checker.taken_over(claimed, gate));
    }
}

fn note_claim(gate: &Gate, claimed: &Claimed, what: &str) {
    gate.world().note(format_args!(
        "p{} {what} {}, epoch {}, stage {}",
        gate.number(),
        claimed.attempt.name,
        claimed.lease.epoch,
        claimed.attempt.stage
    ));
}

pub(crate) async fn raised(gate: &Gate, old: &HostLease, answer: &Result<HostLease, LeaseError>) {
    if let Ok(lease) = answer {
        gate.world().check(|checker| {
            checker.raised(old.host, old.epoch, lease.epoch);
        });
    }
}

pub(crate) async fn recorded(
    gate: &Gate,
    lease: &HostLease,
    event: &HostEvent,
    answer: &Result<(), LeaseError>,
) {
    let world = gate.world();
    match answer {
        Ok(()) => {
            let name = world.check(|checker| checker.recorded(lease, event));
            world.note(format_args!("p{} {name}: {}", gate.number(), short(event)));
            if let HostEvent::Settled { outcome } = event {
                let end = format!("{}/{}", outcome.status, outcome.reason);
                *world.coverage().reasons.entry(end).or_default() += 1;
            }
        }
        Err(LeaseError::Illegal(error)) => {
            let why = error.to_string();
            world.check(|checker| checker.illegal(lease, event, &why));
        }
        Err(error) => world.note(format_args!("p{}: not on record: {error}", gate.number())),
    }
}

fn short(event: &HostEvent) -> String {
    match event {
        HostEvent::StepStarted { step, .. } => format!("{step} begins"),
        HostEvent::StepFinished { step, .. } => format!("{step} is done"),
        HostEvent::StepFailed {
            step,
            reason,
            message,
            ..
        } => format!("{step} failed, {reason}: {message}"),
        HostEvent::Settled { outcome } => format!(
            "SETTLED {}/{} touched {}: {}",
            outcome.status, outcome.reason, outcome.touched, outcome.message
        ),
        other => format!("{other:?}"),
    }
}

pub(crate) async fn registered(gate: &Gate, answer: &Result<WorkerId, StoreError>) {
    if let Ok(worker) = answer {
        gate.world().check(|checker| checker.renewed(*worker, gate));
        gate.world().note(format_args!(
            "p{} is worker {}",
            gate.number(),
            worker.short()
        ));
    }
}

pub(crate) async fn renewed(gate: &Gate, worker: WorkerId, answer: &Result<(), LeaseError>) {
    if answer.is_ok() {
        gate.world().check(|checker| checker.renewed(worker, gate));
    }
}

pub(crate) async fn left(gate: &Gate, worker: WorkerId, answer: &Result<(), StoreError>) {
    if answer.is_ok() {
        gate.world().check(|checker| checker.let_go(worker));
    }
}

pub(crate) async fn health_claimed(gate: &Gate, answer: &Result<Option<HealthLease>, LeaseError>) {
    if let Ok(Some(lease)) = answer {
        gate.world()
            .check(|checker| checker.health_claimed(lease.host, lease.epoch));
    }
}

pub(crate) async fn health_restart(
    gate: &Gate,
    lease: &HealthLease,
    answer: &Result<RestartTurn, LeaseError>,
) {
    if let Ok(RestartTurn::Go(_)) = answer {
        gate.world()
            .check(|checker| checker.restart_counted(lease.host, lease.epoch));
    }
}

pub(crate) async fn health_raised(
    gate: &Gate,
    old: &HealthLease,
    answer: &Result<HealthLease, LeaseError>,
) {
    if let Ok(lease) = answer {
        gate.world()
            .check(|checker| checker.raised(old.host, old.epoch, lease.epoch));
    }
}

pub(crate) async fn health_settled(
    gate: &Gate,
    lease: &HealthLease,
    answer: &Result<(), LeaseError>,
) {
    if answer.is_ok() {
        gate.world()
            .check(|checker| checker.health_settled(lease.host, lease.epoch));
    }
}

//! Small fleets, plans and attempts for the cases.

use fleet_store::*;
use fleet_types::{
    AttemptStatus, CommitHash, HostEvent, Outcome, Policy, Previous, Reason, RolloutId,
    RolloutKind, StepId, StepOutput, WorkerId,
};

pub(crate) fn commit(digit: char) -> CommitHash {
    String::from(digit).repeat(40).parse().unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor::local("anna")
}

pub(crate) use fleet_store::sample_host as host;

pub(crate) fn host_at(name: &str, address: &str, repo: &str) -> NewHost {
    let mut host = host(name);
    host.spec.address = address.parse().unwrap();
    host.spec.app.repo = repo.parse().unwrap();
    host
}

pub(crate) fn worker(serves: bool) -> NewWorker {
    NewWorker {
        id: WorkerId(uuid::Uuid::now_v7()),
        label: "test".to_owned(),
        serves,
        process: None,
    }
}

pub(crate) fn worker_with_pid(pid: u32) -> NewWorker {
    NewWorker {
        process: Some(ProcessId {
            boot: "boot".to_owned(),
            pid_namespace: 1,
            pid,
            started: 1,
        }),
        ..worker(false)
    }
}

/// `h001`, `h002`, …
pub(crate) async fn add_hosts(store: &DieselStore, number: usize) -> Vec<HostRecord> {
    let new = (1..=number).map(|n| host(&format!("h{n:03}"))).collect();
    store.host_add(new, &actor()).await.unwrap()
}

pub(crate) fn plan(hosts: &[HostRecord]) -> NewRollout {
    NewRollout {
        kind: RolloutKind::Update,
        hosts: hosts
            .iter()
            .map(|host| PlannedHost {
                host: host.id,
                from: None,
                to: None,
            })
            .collect(),
        target: Some(commit('b')),
        target_ref: "main".to_owned(),
        policy: Policy::default(),
        source: None,
        actor: actor(),
        message: None,
        force: false,
        request: None,
    }
}

pub(crate) fn one_stage(hosts: &[HostRecord]) -> NewRollout {
    let mut plan = plan(hosts);
    plan.policy.stages = "100".parse().unwrap();
    plan
}

/// Starts a rollout with a worker of its own.
pub(crate) async fn start(store: &DieselStore, plan: NewRollout) -> (RolloutId, WorkerId) {
    let worker = worker(false);
    let id = worker.id;
    (store.rollout_create(plan, Some(worker)).await.unwrap(), id)
}

/// The next claim, which must be there.
pub(crate) async fn claim(store: &DieselStore, rollout: RolloutId, worker: WorkerId) -> Claimed {
    match store.attempt_claim(rollout, worker, &[]).await.unwrap() {
        Claim::Claimed(claimed) => *claimed,
        Claim::Nothing(idle) => panic!("nothing to claim: {idle:?}"),
    }
}

/// Why there is nothing to claim.
pub(crate) async fn idle(store: &DieselStore, rollout: RolloutId, worker: WorkerId) -> Idle {
    match store.attempt_claim(rollout, worker, &[]).await.unwrap() {
        Claim::Claimed(claimed) => panic!("claimed {}", claimed.attempt.name),
        Claim::Nothing(idle) => idle,
    }
}

pub(crate) fn started(step: StepId) -> HostEvent {
    HostEvent::StepStarted {
        step,
        limit_seconds: 60,
    }
}

pub(crate) fn finished(step: StepId) -> HostEvent {
    HostEvent::StepFinished {
        step,
        duration_ms: 12,
        output: StepOutput {
            exit: Some(0),
            stdout: "fine".to_owned(),
            stderr: String::new(),
            total_bytes: 4,
        },
    }
}

pub(crate) fn previous(digit: char) -> HostEvent {
    HostEvent::PreviousKnown {
        previous: Previous {
            version: commit(digit),
            branch: Some("main".to_owned()),
            was_active: true,
        },
    }
}

pub(crate) fn outcome(status: AttemptStatus, reason: Reason, touched: bool) -> Outcome {
    let version = match status {
        AttemptStatus::Success => Some(commit('b')),
        AttemptStatus::RolledBack => Some(commit('a')),
        _ => None,
    };
    Outcome {
        status,
        reason,
        step: None,
        touched,
        needs_attention: false,
        message: String::new(),
        version,
    }
}

pub(crate) fn settled(status: AttemptStatus, reason: Reason, touched: bool) -> HostEvent {
    HostEvent::Settled {
        outcome: outcome(status, reason, touched),
    }
}

/// The whole way of a host that is updated.
pub(crate) async fn update(store: &DieselStore, lease: &HostLease) {
    for event in [
        started(StepId::Inspect),
        finished(StepId::Inspect),
        previous('a'),
        started(StepId::Pull),
        finished(StepId::Pull),
        settled(AttemptStatus::Success, Reason::Updated, true),
    ] {
        store.attempt_record(lease, &event).await.unwrap();
    }
}

/// Ends the attempt as bad, by the commit's fault.
pub(crate) async fn roll_back(store: &DieselStore, lease: &HostLease) {
    for event in [
        previous('a'),
        started(StepId::Install),
        settled(AttemptStatus::RolledBack, Reason::InstallFailed, true),
    ] {
        store.attempt_record(lease, &event).await.unwrap();
    }
}

/// Ends the attempt before anything was sent.
pub(crate) async fn unreachable(store: &DieselStore, lease: &HostLease) {
    let event = settled(AttemptStatus::Failed, Reason::Unreachable, false);
    store.attempt_record(lease, &event).await.unwrap();
}

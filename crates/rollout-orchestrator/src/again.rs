//! Plans over what an earlier rollout did: retry and rollback. Pure.

use std::collections::HashMap;

use fleet_store::{Actor, AttemptRecord, HostRecord, NewRollout, PlannedHost, RolloutRecord};
use fleet_types::{AttemptStatus, HostId, HostName, Policy, Reason, RolloutId, RolloutKind};

use crate::planning::{Plan, PlanError, arrange, cut};

/// What a person asks for about an earlier rollout.
#[derive(Clone, Debug)]
pub struct AgainRequest {
    /// The earlier rollout. It must be over.
    pub source: RolloutId,
    /// How; none means as the earlier one.
    pub policy: Option<Policy>,
    /// What they say about it.
    pub message: Option<String>,
    /// Who asks.
    pub actor: Actor,
}

/// What is known of the earlier rollout.
pub(crate) struct Earlier {
    pub(crate) record: RolloutRecord,
    pub(crate) attempts: Vec<AttemptRecord>,
    pub(crate) fleet: Vec<HostRecord>,
}

/// The failed, rolled back and never started hosts of the source, to where the source went. Asking for it is the consent
/// that starting a commit known to be bad needs.
pub(crate) fn plan_retry(earlier: Earlier, request: &AgainRequest) -> Result<Plan, PlanError> {
    let backwards = earlier.record.kind == RolloutKind::Rollback;
    let wanted = earlier
        .attempts
        .iter()
        .filter(|attempt| is_left_over(attempt))
        .map(|attempt| Wanted {
            name: attempt.name.clone(),
            planned: PlannedHost {
                host: attempt.host,
                from: attempt.from.clone().filter(|_| backwards),
                to: attempt.target.clone().filter(|_| backwards),
            },
        });
    let wanted = wanted.collect();
    let rollout = NewRollout {
        // What goes back host by host stays a rollback, of the same rollout.
        kind: if backwards {
            RolloutKind::Rollback
        } else {
            RolloutKind::Retry
        },
        target: earlier.record.target.clone(),
        target_ref: earlier.record.target_ref.clone(),
        source: if backwards {
            earlier.record.source
        } else {
            Some(earlier.record.id)
        },
        ..frame(&earlier.record, request)
    };
    assemble(earlier, rollout, wanted, "retry")
}

/// Every host that the source changed, each from where the source left it to where it was before.
pub(crate) fn plan_rollback(earlier: Earlier, request: &AgainRequest) -> Result<Plan, PlanError> {
    let wanted = earlier.attempts.iter().filter_map(|attempt| {
        let (from, to) = changed(attempt)?;
        let planned = PlannedHost {
            host: attempt.host,
            from: Some(from),
            to: Some(to),
        };
        Some(Wanted {
            name: attempt.name.clone(),
            planned,
        })
    });
    let wanted = wanted.collect();
    let rollout = NewRollout {
        kind: RolloutKind::Rollback,
        target: None,
        target_ref: earlier.record.id.to_string(),
        source: Some(earlier.record.id),
        ..frame(&earlier.record, request)
    };
    assemble(earlier, rollout, wanted, "take back")
}

struct Wanted {
    name: HostName,
    planned: PlannedHost,
}

fn is_left_over(attempt: &AttemptRecord) -> bool {
    match attempt.status {
        AttemptStatus::Failed | AttemptStatus::RolledBack => true,
        AttemptStatus::Skipped => attempt.reason == Some(Reason::NotStarted),
        _ => false,
    }
}

fn changed(attempt: &AttemptRecord) -> Option<(fleet_types::CommitHash, fleet_types::CommitHash)> {
    let updated =
        attempt.status == AttemptStatus::Success && attempt.reason == Some(Reason::Updated);
    let from = attempt.target.clone().filter(|_| updated)?;
    let to = attempt.progress.previous.as_ref()?.version.clone();
    (from != to).then_some((from, to))
}

fn frame(source: &RolloutRecord, request: &AgainRequest) -> NewRollout {
    NewRollout {
        kind: source.kind,
        hosts: Vec::new(),
        target: None,
        target_ref: String::new(),
        policy: request
            .policy
            .clone()
            .unwrap_or_else(|| source.policy.clone()),
        source: None,
        actor: request.actor.clone(),
        message: request.message.clone(),
        force: true,
        request: None,
    }
}

fn assemble(
    earlier: Earlier,
    mut rollout: NewRollout,
    wanted: Vec<Wanted>,
    what: &'static str,
) -> Result<Plan, PlanError> {
    let id = earlier.record.id;
    if earlier.record.state.is_active() {
        return Err(PlanError::NotOver {
            id,
            state: earlier.record.state,
        });
    }
    rollout.policy.check()?;
    let mut fleet: HashMap<HostId, HostRecord> = earlier
        .fleet
        .into_iter()
        .map(|host| (host.id, host))
        .collect();
    let mut planned: HashMap<HostId, PlannedHost> = HashMap::new();
    let mut hosts = Vec::new();
    let mut gone = Vec::new();
    for one in wanted {
        match fleet.remove(&one.planned.host) {
            Some(host) => {
                planned.insert(host.id, one.planned);
                hosts.push(host);
            }
            None => gone.push(one.name),
        }
    }
    if hosts.is_empty() {
        return Err(PlanError::NothingLeft { id, what });
    }
    let hosts = arrange(hosts, rollout.policy.order);
    rollout.hosts = hosts
        .iter()
        .filter_map(|host| planned.remove(&host.id))
        .collect();
    let stages = cut(&hosts, &rollout.policy);
    Ok(Plan {
        rollout,
        hosts,
        stages,
        gone,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use fleet_types::{CommitHash, Previous, Progress, RolloutState, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::planning::tests::host;

    fn commit(digit: char) -> CommitHash {
        String::from(digit).repeat(40).parse().unwrap()
    }

    fn record(kind: RolloutKind, state: RolloutState) -> RolloutRecord {
        RolloutRecord {
            id: RolloutId(Uuid::now_v7()),
            kind,
            state,
            target: (kind != RolloutKind::Rollback).then(|| commit('b')),
            target_ref: "main".into(),
            policy: Policy::default(),
            source: None,
            started_by: "ann".into(),
            message: None,
            created_at: Timestamp(0),
            finished_at: None,
            stage: 1,
            reason: None,
            hosts: 6,
            schema: fleet_store::Schema::default(),
        }
    }

    fn attempt(
        of: &RolloutRecord,
        host: &HostRecord,
        status: AttemptStatus,
        reason: Reason,
    ) -> AttemptRecord {
        let previous = Previous {
            version: commit('a'),
            branch: Some("main".into()),
            was_active: true,
        };
        AttemptRecord {
            rollout: of.id,
            host: host.id,
            name: host.name.clone(),
            stage: 1,
            spec: host.spec.clone(),
            target: Some(commit('b')),
            from: None,
            status,
            reason: Some(reason),
            touched: true,
            needs_attention: false,
            progress: Progress {
                previous: Some(previous),
                ..Progress::default()
            },
            step: None,
            message: None,
            started_at: None,
            finished_at: None,
            takeovers: 0,
        }
    }

    /// One host for each way to end, and one that left the fleet since.
    fn earlier(kind: RolloutKind, state: RolloutState) -> Earlier {
        use {AttemptStatus as S, Reason as R};
        let record = record(kind, state);
        let ends = [
            ("updated", S::Success, R::Updated),
            ("unchanged", S::Success, R::Unchanged),
            ("back", S::RolledBack, R::Unhealthy),
            ("failed", S::Failed, R::Unreachable),
            ("waiting", S::Skipped, R::NotStarted),
            ("moved", S::Skipped, R::MovedOn),
            ("gone-updated", S::Success, R::Updated),
            ("gone-failed", S::Failed, R::DirtyTree),
        ];
        let fleet: Vec<HostRecord> = ends
            .iter()
            .map(|(name, ..)| host(name, "main", &[]))
            .collect();
        let attempts = fleet
            .iter()
            .zip(ends)
            .map(|(host, (_, s, r))| attempt(&record, host, s, r))
            .collect();
        let fleet = fleet
            .into_iter()
            .filter(|host| !host.name.as_str().starts_with("gone"))
            .collect();
        Earlier {
            record,
            attempts,
            fleet,
        }
    }

    fn request(source: RolloutId) -> AgainRequest {
        AgainRequest {
            source,
            policy: None,
            message: None,
            actor: Actor::local("bob"),
        }
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.hosts.iter().map(|host| host.name.as_str()).collect()
    }

    #[test]
    fn a_retry_takes_the_failed_and_the_never_started() {
        let earlier = earlier(RolloutKind::Update, RolloutState::Halted);
        let id = earlier.record.id;
        let plan = plan_retry(earlier, &request(id)).unwrap();
        assert_eq!(names(&plan), ["back", "failed", "waiting"]);
        assert_eq!(plan.gone, ["gone-failed".parse().unwrap()]);
        assert_eq!(
            plan.stages
                .iter()
                .map(|s| s.hosts.len())
                .collect::<Vec<_>>(),
            [1, 1, 1]
        );
        let rollout = plan.rollout;
        assert_eq!(
            (rollout.kind, rollout.source, rollout.force),
            (RolloutKind::Retry, Some(id), true)
        );
        assert_eq!(
            (rollout.target, rollout.target_ref.as_str()),
            (Some(commit('b')), "main")
        );
        assert!(
            rollout
                .hosts
                .iter()
                .all(|host| host.from.is_none() && host.to.is_none())
        );
    }

    #[test]
    fn a_rollback_takes_what_was_changed_each_to_its_own_version() {
        let earlier = earlier(RolloutKind::Update, RolloutState::Completed);
        let id = earlier.record.id;
        let plan = plan_rollback(earlier, &request(id)).unwrap();
        assert_eq!(names(&plan), ["updated"]);
        assert_eq!(plan.gone, ["gone-updated".parse().unwrap()]);
        let rollout = plan.rollout;
        assert_eq!(
            (rollout.kind, rollout.target),
            (RolloutKind::Rollback, None)
        );
        assert_eq!(rollout.target_ref, id.to_string());
        assert_eq!(
            (rollout.hosts[0].from.clone(), rollout.hosts[0].to.clone()),
            (Some(commit('b')), Some(commit('a')))
        );
    }

    #[test]
    fn a_retry_of_a_rollback_goes_back_as_well() {
        let mut earlier = earlier(RolloutKind::Rollback, RolloutState::CompletedWithFailures);
        let first = RolloutId(Uuid::now_v7());
        earlier.record.source = Some(first);
        for attempt in &mut earlier.attempts {
            attempt.from = Some(commit('c'));
        }
        let id = earlier.record.id;
        let rollout = plan_retry(earlier, &request(id)).unwrap().rollout;
        assert_eq!(
            (rollout.kind, rollout.source, rollout.target),
            (RolloutKind::Rollback, Some(first), None)
        );
        let way = |host: &PlannedHost| (host.from.clone(), host.to.clone());
        assert!(
            rollout
                .hosts
                .iter()
                .all(|host| way(host) == (Some(commit('c')), Some(commit('b'))))
        );
    }

    #[test]
    fn only_a_rollout_that_is_over_and_left_something() {
        for state in [
            RolloutState::Running,
            RolloutState::Paused,
            RolloutState::Halting,
            RolloutState::Aborting,
        ] {
            let earlier = earlier(RolloutKind::Update, state);
            let id = earlier.record.id;
            assert!(matches!(
                plan_retry(earlier, &request(id)),
                Err(PlanError::NotOver { .. })
            ));
        }
        let mut done = earlier(RolloutKind::Update, RolloutState::Completed);
        done.attempts
            .retain(|attempt| attempt.reason == Some(Reason::Unchanged));
        let id = done.record.id;
        let error = plan_rollback(done, &request(id)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("rollout {id} has no host to take back")
        );
    }
}

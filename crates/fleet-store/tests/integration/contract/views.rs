use fleet_store::*;
use fleet_types::{AttemptStatus, HostEvent, Reason, StepId, StepOutput, Timestamp, view};

use crate::fleet::*;
use crate::place::Place;

pub(crate) async fn status_is_of_one_size(place: &Place) {
    let store = place.store().await;
    let empty = store.status().await.unwrap();
    assert_eq!(
        (empty.fleet.hosts, empty.rollout, empty.seq.0),
        (0, None, 0)
    );
    let hosts = add_hosts(&store, 60).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_in_flight = 60;
    plan.policy.max_failure_percent = "100".parse().unwrap();
    let (id, worker) = start(&store, plan).await;
    for n in 0..60 {
        let claimed = claim(&store, id, worker).await;
        // 25 versions: the first on 36 hosts, the others on one each.
        let version = format!("{:040x}", if n < 36 { 0 } else { n });
        let mut end = outcome(AttemptStatus::Success, Reason::Updated, true);
        end.version = Some(version.parse().unwrap());
        let event = HostEvent::Settled { outcome: end };
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    let status = store.status().await.unwrap();
    let fleet = status.fleet;
    assert_eq!(
        (fleet.hosts, fleet.updating, fleet.health.active),
        (60, 0, 60)
    );
    assert_eq!(fleet.versions.len(), 21);
    assert_eq!(fleet.versions[0].hosts, 36);
    let other = fleet.versions.last().unwrap();
    assert_eq!((other.version.as_deref(), other.hosts), (Some("other"), 5));
    let sum: u32 = fleet.versions.iter().map(|version| version.hosts).sum();
    assert_eq!(sum, 60);
    assert_eq!(status.rollout.unwrap().id, id);
    let events = store
        .events_after(fleet_types::Seq(0), None, 1000)
        .await
        .unwrap();
    assert_eq!(events.last().unwrap().seq, status.seq);
}

pub(crate) async fn in_flight_tells_why_nothing_moves(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 60).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_in_flight = 60;
    let (id, worker) = start(&store, plan).await;
    let first = claim(&store, id, worker).await;
    let began = place.clock.clone();
    let since = fleet_store::Clock::now(&began);
    store
        .attempt_record(&first.lease, &started(StepId::Inspect))
        .await
        .unwrap();
    let shown = async || store.rollout_view(id).await.unwrap().unwrap();
    let expected = view::InFlight {
        host: "h001".to_owned(),
        step: Some("inspect".to_owned()),
        since,
        deadline: Some(Timestamp(since.0 + 60_000)),
    };
    assert_eq!(shown().await.in_flight, [expected]);
    store
        .attempt_record(&first.lease, &finished(StepId::Inspect))
        .await
        .unwrap();
    assert_eq!(shown().await.in_flight[0].deadline, None, "between steps");
    for _ in 1..60 {
        claim(&store, id, worker).await;
    }
    let view = shown().await;
    assert_eq!((view.in_flight.len(), view.counts.updating), (50, 60));
    assert_eq!(store.status().await.unwrap().fleet.updating, 60);
}

pub(crate) async fn late_hosts_are_counted_however_many(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 60).await;
    let mut plan = one_stage(&hosts);
    plan.policy.max_in_flight = 60;
    let (id, worker) = start(&store, plan).await;
    let now = || fleet_store::Clock::now(&place.clock);
    let late = async |before| store.hosts_late(id, before).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..60 {
        let lease = claim(&store, id, worker).await.lease;
        store
            .attempt_record(&lease, &started(StepId::Inspect))
            .await
            .unwrap();
        leases.push(lease);
    }
    let far = Timestamp(now().0 + 3_600_000);
    assert_eq!((late(now()).await, late(far).await), (0, 60));
    let between = finished(StepId::Inspect);
    store.attempt_record(&leases[0], &between).await.unwrap();
    update(&store, &leases[1]).await;
    assert_eq!(
        late(far).await,
        58,
        "between steps, and at the end, none is late"
    );
    let other = fleet_types::RolloutId(uuid::Uuid::now_v7());
    assert_eq!(store.hosts_late(other, far).await.unwrap(), 0);
}

pub(crate) async fn steps_keep_their_output(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 1).await;
    let (id, worker) = start(&store, one_stage(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    let output = StepOutput {
        exit: Some(1),
        stdout: "zeile\u{2028} \\x1b \u{0}".to_owned(),
        stderr: "x".repeat(64 * 1024),
        total_bytes: 1 << 40,
    };
    for event in [
        started(StepId::Inspect),
        finished(StepId::Inspect),
        previous('a'),
        started(StepId::Install),
        HostEvent::ConnectionLost {
            step: StepId::Install,
            message: "reset".to_owned(),
        },
        HostEvent::StepFailed {
            step: StepId::Install,
            reason: Reason::InstallFailed,
            message: "no\u{0}t found".to_owned(),
            duration_ms: 2500,
            output: output.clone(),
        },
        HostEvent::RollbackStarted {
            step: StepId::Install,
            reason: Reason::InstallFailed,
            message: "not found".to_owned(),
        },
        started(StepId::RollbackCheckout),
    ] {
        store.attempt_record(&claimed.lease, &event).await.unwrap();
    }
    let steps = store.attempt_steps(id, &hosts[0].name).await.unwrap();
    let names: Vec<StepId> = steps.iter().map(|step| step.step).collect();
    assert_eq!(
        names,
        [StepId::Inspect, StepId::Install, StepId::RollbackCheckout]
    );
    assert_eq!(steps[0].failed, None);
    assert_eq!(steps[1].output, output);
    let (reason, message) = steps[1].failed.clone().unwrap();
    assert_eq!(
        (reason, message.as_str()),
        (Reason::InstallFailed, "no\\x00t found")
    );
    assert_eq!((steps[2].finished_at, &steps[2].failed), (None, &None));
    let progress = &store.attempt_list(id).await.unwrap()[0].progress;
    assert!(matches!(
        progress.phase,
        fleet_types::Phase::Back {
            step: StepId::Install,
            ..
        }
    ));
}

pub(crate) async fn host_views_show_last_attempts(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 2).await;
    assert!(
        store
            .host_views(None)
            .await
            .unwrap()
            .iter()
            .all(|host| host.attempt.is_none() && host.update_status.is_none())
    );
    let (first, worker) = start(&store, one_stage(&hosts)).await;
    while let Claim::Claimed(claimed) = store.attempt_claim(first, worker, &[]).await.unwrap() {
        place.clock.advance(std::time::Duration::from_secs(2));
        update(&store, &claimed.lease).await;
    }
    store.rollout_advance(first).await.unwrap();
    let (second, _) = start(&store, one_stage(&hosts[1..])).await;
    let views = store.host_views(None).await.unwrap();
    let shown: Vec<_> = views
        .iter()
        .map(|host| (host.update_status, host.attempt.as_ref().unwrap().rollout))
        .collect();
    assert_eq!(
        shown,
        [
            (Some(AttemptStatus::Success), first),
            (Some(AttemptStatus::Pending), second)
        ]
    );
    let host = &views[0];
    assert_eq!(host.current_version, Some(commit('b').to_string()));
    assert_eq!(host.previous_version, Some(commit('a').to_string()));
    assert_eq!(host.target_version, Some(commit('b').to_string()));
    let attempt = host.attempt.as_ref().unwrap();
    assert_eq!(attempt.duration_seconds, Some(2.0));
    assert_eq!(attempt.reason.as_deref(), Some("updated"));
    assert!(attempt.touched && host.last_update_at.is_some());
    let of_first = store.host_views(Some(first)).await.unwrap();
    assert!(
        of_first
            .iter()
            .all(|host| host.attempt.as_ref().unwrap().rollout == first)
    );
    assert_eq!(of_first.len(), 2);
}

use fleet_store::*;
use fleet_types::RolloutState;

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

pub(crate) async fn goes_through(place: &Place) {
    let store = place.store().await;
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let mut order = Vec::new();
    loop {
        match store.attempt_claim(id, worker, &[]).await.unwrap() {
            Claim::Claimed(claimed) => {
                order.push(claimed.attempt.name.to_string());
                update(&store, &claimed.lease).await;
            }
            Claim::Nothing(Idle::StageTaken) => {
                if !store.rollout_advance(id).await.unwrap().state.is_active() {
                    break;
                }
            }
            Claim::Nothing(idle) => panic!("{idle:?}"),
        }
        assert_consistent(&store).await;
    }
    let expected: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    assert_eq!(order, expected, "in plan order");
    let view = store.rollout_view(id).await.unwrap().unwrap();
    assert_eq!(view.state, RolloutState::Completed);
    assert_eq!(view.counts.success, 10);
    assert_eq!(view.counts.total(), 10);
    let sizes: Vec<(u32, u32)> = view.stages.iter().map(|s| (s.percent, s.hosts)).collect();
    assert_eq!(sizes, [(10, 1), (50, 4), (100, 5)]);
    assert!(view.finished_at.is_some() && view.in_flight.is_empty() && !view.attended);
}

//! The same on real threads, real time and a file: two processes that know of each other by the database alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fleet_store::{DieselStore, StoreOptions, sample_host};
use fleet_types::*;
use rollout_orchestrator::*;
use ssh_exec::Identity;

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_file_share_a_rollout() {
    let world = World::new(40).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("rollout.db").display());
    let orchestrator = async || {
        let store = DieselStore::open(&url, StoreOptions::default())
            .await
            .unwrap();
        let ssh = SshDefaults {
            identity: Some(Identity::Agent("/agent".into())),
            ..SshDefaults::default()
        };
        let settings = OrchestratorSettings {
            ssh,
            poll: Duration::from_millis(20),
            ..OrchestratorSettings::default()
        };
        Orchestrator::new(Arc::new(store), Arc::new(world.network.clone()), settings)
    };
    let (one, two) = (orchestrator().await, orchestrator().await);
    let hosts = world.names().iter().map(|name| sample_host(name)).collect();
    one.store().host_add(hosts, &actor()).await.unwrap();
    for name in world.names() {
        world.fleet.change(&name, |host| {
            host.takes.insert("pull".into(), Duration::from_millis(20));
        });
    }
    let policy = Policy {
        concurrency: 6,
        settle: Duration::from_millis(30),
        ..policy()
    };
    let (id, mut worker) = begin(&one, policy).await;
    let (mine, other) = tokio::join!(worker.finished(), two.drive(id, who("second")));
    assert_eq!(mine.unwrap().record.unwrap().state, RolloutState::Completed);
    assert_eq!(other.unwrap().state, RolloutState::Completed);
    assert!(
        world.network.most_open() <= 6,
        "{}",
        world.network.most_open()
    );
    assert_eq!(world.network.open(), 0);
    for name in world.names() {
        let host = world.fleet.host(&name).unwrap();
        assert!(host.is_wholly_on(&world.new), "{name}");
        assert_eq!(
            host.received.iter().filter(|c| c.name == "pull").count(),
            1,
            "{name}"
        );
    }
    let attempts = two.store().attempt_list(id).await.unwrap();
    let stages: BTreeSet<u32> = attempts.iter().map(|attempt| attempt.stage).collect();
    assert_eq!(stages, [1, 2, 3].into());
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.status == AttemptStatus::Success && attempt.takeovers == 0)
    );
}

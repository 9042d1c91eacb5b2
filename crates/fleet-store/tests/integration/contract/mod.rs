use fleet_store::*;
use fleet_types::RolloutState;

use crate::fleet::*;

#[tokio::test]
async fn smoke() {
    let store = DieselStore::in_memory(ManualClock::new());
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let mut rounds = 0;
    loop {
        match store.attempt_claim(id, worker, &[]).await.unwrap() {
            Claim::Claimed(claimed) => update(&store, &claimed.lease).await,
            Claim::Nothing(_) => {
                let record = store.rollout_advance(id).await.unwrap();
                if !record.state.is_active() {
                    assert_eq!(record.state, RolloutState::Completed);
                    break;
                }
            }
        }
        rounds += 1;
        assert!(rounds < 100);
    }
    let view = store.rollout_view(id).await.unwrap().unwrap();
    assert_eq!(view.counts.success, 10);
    let views = store.host_views(None).await.unwrap();
    assert_eq!(views.len(), 10);
}

#[tokio::test]
async fn smoke_threads() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/new/store.db", folder.path().display());
    let store = DieselStore::open(&url, StoreOptions::default())
        .await
        .unwrap();
    let hosts = add_hosts(&store, 10).await;
    let (id, worker) = start(&store, plan(&hosts)).await;
    let claimed = claim(&store, id, worker).await;
    update(&store, &claimed.lease).await;
    println!("{:#?}", store.status().await.unwrap());
    println!(
        "{:#?}",
        store
            .events_after(fleet_types::Seq(0), None, 100)
            .await
            .unwrap()
    );
}

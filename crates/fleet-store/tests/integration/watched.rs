use std::sync::{Arc, Mutex};

use fleet_store::{
    CallFault, CallMoment, CallWatch, DieselStore, Inventory, StoreError, StoreOptions, Workers,
};

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<(String, CallMoment)>>);

impl CallWatch for Seen {
    fn begins(&self, call: &str) -> Option<CallFault> {
        (call == "worker_alive").then_some(CallFault::Full)
    }

    fn at(&self, call: &str, moment: CallMoment, _: &[String]) {
        self.0.lock().unwrap().push((call.to_owned(), moment));
    }
}

#[tokio::test]
async fn calls_are_seen_by_their_names_and_meet_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/fleet.db", folder.path().display());
    let seen = Arc::new(Seen::default());
    let options = StoreOptions {
        watch: Some(Arc::clone(&seen) as Arc<dyn CallWatch>),
        ..StoreOptions::default()
    };
    let store = DieselStore::open(&url, options).await.unwrap();
    store.host_list().await.unwrap();
    let full = store.worker_alive().await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    use CallMoment::{After, Before, Open};
    let expected = [
        ("host_list", Before),
        ("host_list", Open),
        ("host_list", After),
        ("worker_alive", Before),
    ];
    let expected = expected.map(|(call, moment)| (call.to_owned(), moment));
    assert_eq!(*seen.0.lock().unwrap(), expected);
}

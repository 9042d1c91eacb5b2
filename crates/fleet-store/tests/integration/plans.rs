//! What workers, servers and pages ask again and again must not take longer with every rollout that is over: on SQLite, no
//! plan of such a query reads a whole table that grows with the history.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use diesel::prelude::*;
use diesel::sql_types::Text;
use fleet_store::*;
use fleet_types::{Seq, Timestamp};

use crate::fleet::*;
use crate::place::Place;

/// They grow with every rollout.
const HISTORY: [&str; 7] = [
    "rollouts",
    "stages",
    "attempts",
    "attempt_specs",
    "steps",
    "events",
    "audit",
];
/// Read from its end, and not beyond the first rows.
const NEWEST_FIRST: &str = "SCAN rollouts USING INDEX rollouts_number";

/// The database that is listened to, and the queries that it got.
static HEARD: Mutex<(String, BTreeSet<String>)> = Mutex::new((String::new(), BTreeSet::new()));

/// One for each connection that this process opens, of other tests too.
#[derive(Debug, Default)]
struct Listener {
    is_ours: bool,
}

impl Instrumentation for Listener {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartEstablishConnection { url, .. } => {
                let heard = HEARD.lock().unwrap();
                self.is_ours = !heard.0.is_empty() && url.contains(&heard.0);
            }
            InstrumentationEvent::StartQuery { query, .. } if self.is_ours => {
                HEARD.lock().unwrap().1.insert(query.to_string());
            }
            _ => {}
        }
    }
}

#[derive(Debug, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// The parts of a query's plan that read history from end to end.
fn long_reads(conn: &mut SqliteConnection, query: &str) -> Vec<String> {
    let sql = query.split(" -- binds").next().unwrap();
    if !sql.starts_with("SELECT") && !sql.starts_with("UPDATE") && !sql.starts_with("DELETE") {
        return Vec::new();
    }
    let rows: Vec<Row> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
        .load(conn)
        .unwrap();
    let details = rows.into_iter().map(|row| row.detail);
    let is_long = |detail: &String| {
        let table = detail.strip_prefix("SCAN ").unwrap_or_default();
        let table = table.split(' ').next().unwrap_or_default();
        HISTORY.contains(&table) && !detail.starts_with(NEWEST_FIRST)
    };
    details.filter(is_long).collect()
}

/// What goes on while a rollout does.
async fn polls(store: &DieselStore) {
    let hosts = add_hosts(store, 4).await;
    let (id, worker) = start(store, plan(&hosts)).await;
    let claimed = claim(store, id, worker).await;
    let other = store.worker_register(crate::fleet::worker(true)).await;
    let other = other.unwrap();
    store.worker_renew(worker).await.unwrap();
    store.worker_alive().await.unwrap();
    idle(store, id, other).await;
    let taken = store.attempt_take_over(other, &[]).await.unwrap();
    assert!(taken.is_none(), "its worker lives");
    let slot = SlotId { worker, number: 0 };
    store.slot_acquire(slot, 5).await.unwrap();
    store.slot_release(slot).await.unwrap();
    update(store, &claimed.lease).await;
    store.rollout_advance(id).await.unwrap();
    store.rollout_active().await.unwrap();
    store.rollout_latest().await.unwrap();
    store.rollout_get(id).await.unwrap();
    store.rollout_view(id).await.unwrap();
    store.status().await.unwrap();
    store.last_seq().await.unwrap();
    store.events_after(Seq(0), None, 100).await.unwrap();
    store.events_after(Seq(0), Some(id), 100).await.unwrap();
    store.hosts_late(id, Timestamp(0)).await.unwrap();
    let every = Duration::from_secs(60);
    let due = store.health_due(other, every, 10, Turns::Due).await;
    assert!(!due.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_again_and_again_reads_no_history() {
    set_default_instrumentation(|| Some(Box::new(Listener::default()))).unwrap();
    let place = Place::file();
    let file = place.url().strip_prefix("sqlite://").unwrap().to_owned();
    HEARD.lock().unwrap().0.clone_from(&file);
    polls(&place.store().await).await;
    let heard = std::mem::take(&mut HEARD.lock().unwrap().1);
    assert!(heard.len() > 40, "{heard:#?}");
    let mut conn = SqliteConnection::establish(&file).unwrap();
    let long: Vec<_> = heard
        .iter()
        .map(|query| (query, long_reads(&mut conn, query)))
        .filter(|(_, reads)| !reads.is_empty())
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

//! Databases on the PostgreSQL server of this test run.

use fleet_testkit::{Postgres, is_left_out};

/// A fresh database; none when this run is to do without PostgreSQL.
pub(crate) async fn database() -> Option<String> {
    if is_left_out("postgres") {
        return None;
    }
    // Starting it takes a while.
    let made = tokio::task::spawn_blocking(|| {
        let server = Postgres::shared();
        server.url(&server.new_database())
    });
    Some(made.await.unwrap())
}

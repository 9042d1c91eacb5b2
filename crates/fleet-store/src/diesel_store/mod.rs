//! The store on diesel: the same query bodies on SQLite and on PostgreSQL.

mod access_rows;
mod backend;
mod calls;
mod crew;
mod desk;
mod engine;
mod history_rows;
mod migrations;
mod moved_file;
mod moved_rows;
mod on_postgres;
mod on_sqlite;
mod options;
mod postgres_tls;
mod postgres_url;
mod prepared;
mod rollout_rows;
mod rows;
mod schema;
mod sqlite_file;
mod store;
mod timings;
#[cfg(feature = "crash-points")]
mod watched;
mod work;

pub use options::{Mode, Password, StoreOptions};
#[cfg(feature = "testing")]
pub use postgres_url::protection;
pub use store::DieselStore;
pub use timings::{CallKind, Timings};

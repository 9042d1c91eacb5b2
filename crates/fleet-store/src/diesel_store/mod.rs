//! The store on diesel: the same query bodies on SQLite and on PostgreSQL.

mod backend;
mod desk;
mod engine;
mod on_postgres;
mod on_sqlite;
mod options;
mod prepared;
mod rows;
mod schema;
mod store;
mod work;

pub use options::{Mode, StoreOptions};
pub use store::DieselStore;

//! The query bodies, written once. This folder is compiled twice: in `on_sqlite` and in `on_postgres`, each with its own
//! connection type, its own `locked!` and its own way to tell the time. A body gets a connection with an open transaction.

/// The hosts of the fleet, each with its last attempt if it had one.
macro_rules! fleet {
    () => {
        hosts::table
            .left_join(
                attempts::table.on(attempts::rollout
                    .nullable()
                    .eq(hosts::last_rollout)
                    .and(attempts::host.eq(hosts::id))),
            )
            .filter(hosts::removed_at.is_null())
    };
}

/// A rollout that is not over. Spelled out, because SQLite would plan a query with a list anew each time. The last two say
/// nothing new, and lead to the one row by an index, however many are over.
macro_rules! active {
    () => {
        rollouts::state
            .eq("running")
            .or(rollouts::state.eq("paused"))
            .or(rollouts::state.eq("halting"))
            .or(rollouts::state.eq("aborting"))
            .and(rollouts::finished_at.is_null())
            .and(rollouts::outputs_removed_at.is_null())
    };
}

pub(crate) mod advance;
pub(crate) mod audit;
#[cfg(feature = "testing")]
pub(crate) mod check;
pub(crate) mod claim;
pub(crate) mod create;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod inventory;
pub(crate) mod lists;
pub(crate) mod moving;
pub(crate) mod open;
pub(crate) mod outputs;
pub(crate) mod record;
pub(crate) mod sessions;
mod settle;
pub(crate) mod sign_in;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod verbs;
mod versions;
pub(crate) mod views;
pub(crate) mod workers;

#[cfg(feature = "testing")]
pub(crate) use super::integrity;
pub(crate) use super::{
    Conn, allow_audit_ids, has_table, insert_events, lease_moment, renumber_audit, take_your_time,
};

type Db = <Conn as diesel::Connection>::Backend;

/// So many rows at once: under the databases' limits on the number of values in a statement.
const CHUNK: usize = 500;

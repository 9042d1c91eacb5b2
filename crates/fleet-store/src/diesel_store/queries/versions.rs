//! Who carries a rollout on when several versions of the program work on one store: those that know all that any program
//! knew which wrote to it. What people ask for (pause, resume, abort, a host that leaves) every version takes; what
//! follows from it, and from how hosts ended, is worked out by those.

use diesel::prelude::*;

use super::Conn;
use crate::diesel_store::prepared::update;
use crate::diesel_store::rows::RolloutRow;
use crate::diesel_store::schema::rollouts;
use crate::diesel_store::work::Work;

/// Whether a newer program has written to the rollout, so that this one leaves it alone.
pub(super) fn is_left_to_newer(work: &Work, rollout: &RolloutRow) -> bool {
    rollout.schema > work.inputs.schema.0
}

/// Puts on record that this program has written to the rollout, whose row is locked: older ones leave it alone from now on.
pub(super) fn mark(conn: &mut Conn, work: &Work, rollout: &RolloutRow) -> QueryResult<()> {
    let schema = work.inputs.schema.0;
    if rollout.schema >= schema {
        return Ok(());
    }
    update!(
        conn,
        diesel::update(rollouts::table.find(&rollout.id)).set(rollouts::schema.eq(schema)),
    )
}

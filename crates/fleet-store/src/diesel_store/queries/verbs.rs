//! Pause, resume, abort.

use diesel::prelude::*;
use fleet_types::{Event, EventKind, Planted, RolloutId, RolloutState, Verb, planted};

use super::{Conn, advance, audit, versions};
use crate::diesel_store::prepared::update;
use crate::diesel_store::schema::rollouts;
use crate::diesel_store::work::{Answer, Work, refuse};
use crate::error::VerbError;
use crate::records::Actor;

/// What a verb comes to in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The rollout moves on to this state.
    Becomes(RolloutState, EventKind),
    /// It is so already.
    Nothing,
    /// It does not apply.
    Refused,
}

fn effect(state: RolloutState, verb: Verb) -> Effect {
    use RolloutState as S;
    match (verb, state) {
        (Verb::Pause, S::Running) => Effect::Becomes(S::Paused, EventKind::RolloutPaused),
        (Verb::Resume, S::Paused) => Effect::Becomes(S::Running, EventKind::RolloutResumed),
        (Verb::Abort, S::Running | S::Paused) => {
            Effect::Becomes(S::Aborting, EventKind::RolloutAborting)
        }
        (Verb::Pause, S::Paused)
        | (Verb::Resume, S::Running)
        // A halting rollout is ending already, which is what an abort asks for.
        | (Verb::Abort, S::Aborting | S::Aborted | S::Halting) => Effect::Nothing,
        (Verb::Abort, _) if planted(Planted::AbortAfterEnd) => {
            Effect::Becomes(S::Aborting, EventKind::RolloutAborting)
        }
        _ => Effect::Refused,
    }
}

pub(crate) fn rollout_verb(
    conn: &mut Conn,
    work: &mut Work,
    id: RolloutId,
    verb: Verb,
    actor: &Actor,
) -> Answer<(), VerbError> {
    let Some(row) = advance::find_locked(conn, &id.to_string())? else {
        return refuse(VerbError::Unknown { id });
    };
    let state = row.state()?;
    match effect(state, verb) {
        Effect::Nothing => Ok(()),
        Effect::Refused => refuse(VerbError::WrongState { id, state, verb }),
        Effect::Becomes(next, kind) => {
            let reason = match next {
                RolloutState::Running => None,
                _ => Some(format!(
                    "{} asked to {verb}",
                    fleet_types::printable(&actor.name)
                )),
            };
            update!(
                conn,
                diesel::update(rollouts::table.find(id.to_string())).set((
                    rollouts::state.eq(next.as_str()),
                    rollouts::reason.eq(reason),
                ))
            )?;
            versions::mark(conn, work, &row)?;
            work.tell(Event {
                rollout: Some(id),
                stage: u32::try_from(row.stage).ok(),
                status: Some(next.as_str().to_owned()),
                actor: Some(actor.name.clone()),
                ..Event::new(kind, work.now())
            });
            let (action, subject) = (format!("rollout.{verb}"), id.to_string());
            audit::done(conn, work, actor, &action, Some(&subject), None)?;
            Ok(())
        }
    }
}

//! The fleet's entries.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use fleet_types::{
    AttemptStatus, Event, EventKind, HostId, HostName, Invalid, Label, Reason, view,
};

use super::{CHUNK, Conn, advance, audit, health, settle, versions};
use crate::diesel_store::prepared::{update, update_returning};
use crate::diesel_store::rows::{
    AttemptRow, HostRow, LastAttempt, StageRow, machine, to_json, word,
};
use crate::diesel_store::schema::{attempts, hosts, rollouts, stages};
use crate::diesel_store::work::{Answer, Work, refuse, widen};
use crate::error::HostError;
use crate::records::{Actor, HostRecord, NewHost};

/// What an entry may hold, beside what its types keep out already.
fn check(host: &NewHost) -> Answer<(), HostError> {
    let fine = || -> Result<(), Invalid> {
        host.spec.app.check()?;
        if host.spec.port == 0 {
            return Err(Invalid::new("port", "0", "must be from 1 to 65535"));
        }
        for (key, value) in &host.labels {
            let text = if value.is_empty() {
                key.clone()
            } else {
                format!("{key}={value}")
            };
            text.parse::<Label>()?;
        }
        let plain = |what, text: &str| {
            if text.is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
                let why = "must have 1 to 500 characters and no control characters";
                return Err(Invalid::new(what, text, why));
            }
            Ok(())
        };
        for (what, value) in [("owner", &host.owner), ("key", &host.spec.key)] {
            if let Some(value) = value {
                plain(what, value)?;
            }
        }
        host.spec.jump.iter().try_for_each(|hop| plain("jump", hop))
    };
    fine().or_else(refuse)
}

/// Names and places in use.
struct Taken {
    names: HashSet<String>,
    places: HashMap<(String, String), String>,
}

impl Taken {
    /// All entries but `except`: one query, whatever the number of hosts to add.
    fn load(conn: &mut Conn, except: Option<&str>) -> QueryResult<Self> {
        let rows: Vec<(String, String, String, String)> = hosts::table
            .filter(hosts::removed_at.is_null())
            .select((hosts::id, hosts::name, hosts::machine, hosts::repo))
            .load(conn)?;
        let mut taken = Self {
            names: HashSet::with_capacity(rows.len()),
            places: HashMap::with_capacity(rows.len()),
        };
        for (id, name, machine, repo) in rows {
            if Some(id.as_str()) != except {
                taken.places.insert((machine, repo), name.clone());
                taken.names.insert(name);
            }
        }
        Ok(taken)
    }

    fn take(&mut self, host: &NewHost) -> Answer<(), HostError> {
        let name = host.name.to_string();
        if !self.names.insert(name.clone()) {
            return refuse(HostError::DuplicateName { name });
        }
        let place = (machine(&host.spec), host.spec.app.repo.to_string());
        if let Some(other) = self.places.insert(place, name.clone()) {
            return refuse(HostError::DuplicateRepository { name, other });
        }
        Ok(())
    }
}

pub(crate) fn host_add(
    conn: &mut Conn,
    work: &mut Work,
    new: &[NewHost],
    actor: &Actor,
) -> Answer<Vec<HostRecord>, HostError> {
    let mut taken = Taken::load(conn, None)?;
    let now = work.now();
    let mut rows = Vec::with_capacity(new.len());
    for host in new {
        check(host)?;
        taken.take(host)?;
        let id = HostId(work.inputs.clock.fresh_id());
        rows.push(HostRow::new(id, host, now));
        work.tell(about(EventKind::HostAdded, &host.name, actor, work));
    }
    for some in rows.chunks(CHUNK) {
        diesel::insert_into(hosts::table)
            .values(some)
            .execute(conn)?;
    }
    note_added(conn, work, new, actor)?;
    let records = rows.iter().map(|row| row.record(None));
    Ok(records.collect::<Result<_, _>>()?)
}

pub(super) fn hosts_in_words(number: usize) -> String {
    let hosts = if number == 1 { "host" } else { "hosts" };
    format!("{number} {hosts}")
}

/// One row for all of them: whoever imports a fleet does one thing.
fn note_added(conn: &mut Conn, work: &Work, new: &[NewHost], actor: &Actor) -> QueryResult<()> {
    const NAMED: usize = 10;
    match new {
        [] => Ok(()),
        [host] => audit::done(
            conn,
            work,
            actor,
            "host.add",
            Some(host.name.as_str()),
            None,
        ),
        hosts => {
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            let first = names[..NAMED.min(names.len())].join(" ");
            let more = if names.len() > NAMED { " …" } else { "" };
            let detail = format!("{}: {first}{more}", hosts_in_words(names.len()));
            audit::done(conn, work, actor, "host.add", None, Some(detail))
        }
    }
}

fn about(kind: EventKind, name: &HostName, actor: &Actor, work: &Work) -> Event {
    Event {
        host: Some(name.to_string()),
        actor: Some(actor.name.clone()),
        ..Event::new(kind, work.now())
    }
}

/// The entry of this name, its row locked.
fn find(conn: &mut Conn, name: &HostName) -> Answer<HostRow, HostError> {
    let row: Option<HostRow> = locked!(
        hosts::table
            .filter(hosts::name.eq(name.as_str()))
            .filter(hosts::removed_at.is_null())
            .select(HostRow::as_select())
    )
    .get_result(conn)
    .optional()?;
    let name = name.to_string();
    row.map_or_else(|| refuse(HostError::Unknown { name }), Ok)
}

/// Undoes the call and has it run again from its beginning, like any race that the database finds.
fn again<T, E>(why: &str) -> Answer<T, E> {
    let race = DatabaseErrorKind::SerializationFailure;
    Err(Error::DatabaseError(race, Box::new(why.to_owned())).into())
}

/// Locks the active rollout first, as everything does that may come to both, then the entry. Its attempt there, if it
/// has one.
fn find_with_attempt(
    conn: &mut Conn,
    name: &HostName,
) -> Answer<(HostRow, Option<AttemptRow>), HostError> {
    let active = || rollouts::table.filter(active!()).select(rollouts::id);
    let locked: Option<String> = locked!(active()).get_result(conn).optional()?;
    let host = find(conn, name)?;
    let Some(active) = locked else {
        // One that was begun since may have the host by now: nobody can begin one with it while its row is ours.
        let begun: Option<String> = active().get_result(conn).optional()?;
        if begun.is_some() {
            return again("a rollout was begun meanwhile");
        }
        return Ok((host, None));
    };
    let attempt: Option<AttemptRow> = attempts::table
        .find((&active, &host.id))
        .select(AttemptRow::as_select())
        .get_result(conn)
        .optional()?;
    if let Some(attempt) = &attempt
        && attempt.status == AttemptStatus::Updating.as_str()
    {
        return refuse(HostError::Updating {
            name: name.to_string(),
            rollout: word("attempts", &attempt.rollout)?,
        });
    }
    Ok((host, attempt))
}

/// Refuses while a restart of the service may be under way: the lease that would be void keeps updates off the machine, and
/// what came of the restart goes on record under it.
fn refuse_restarting(conn: &mut Conn, work: &mut Work, host: &HostRow) -> Answer<(), HostError> {
    if !widen(health::may_be_restarting(conn, work, host))? {
        return Ok(());
    }
    let name = host.name.clone();
    refuse(HostError::Restarting { name })
}

/// Refuses a change to an entry that is not as it was seen, as far as people set it.
fn refuse_stale(host: &HostRow, seen: Option<&HostRecord>) -> Answer<(), HostError> {
    let Some(seen) = seen else { return Ok(()) };
    let found = host.record(None)?;
    let entry = |record: &HostRecord| view::EnrolledHost::from(record.clone());
    if found.id == seen.id && entry(&found) == entry(seen) {
        return Ok(());
    }
    let name = found.name.to_string();
    refuse(HostError::Stale { name })
}

pub(crate) fn host_edit(
    conn: &mut Conn,
    work: &mut Work,
    name: &HostName,
    seen: Option<&HostRecord>,
    new: &NewHost,
    actor: &Actor,
) -> Answer<HostRecord, HostError> {
    check(new)?;
    let (host, _) = find_with_attempt(conn, name)?;
    refuse_stale(&host, seen)?;
    refuse_restarting(conn, work, &host)?;
    Taken::load(conn, Some(&host.id))?.take(new)?;
    // Pinned keys stay: another machine at a new address shows other keys, and is refused until they are pinned anew.
    let row: HostRow = update_returning!(
        conn,
        diesel::update(hosts::table.find(&host.id))
            .set((
                hosts::name.eq(new.name.as_str()),
                hosts::machine.eq(machine(&new.spec)),
                hosts::repo.eq(new.spec.app.repo.as_str()),
                hosts::spec.eq(to_json(&new.spec)),
                hosts::labels.eq(to_json(&new.labels)),
                hosts::owner.eq(new.owner.as_deref()),
                // What a health checker saw or holds of the old entry is void; an update's lease was refused above.
                hosts::lease_epoch.eq(hosts::lease_epoch + 1),
                settle::nobody(),
            ))
            .returning(HostRow::as_returning()),
    )?;
    let mut event = about(EventKind::HostEdited, &new.name, actor, work);
    if new.name != *name {
        event.message = Some(format!("{name} is now {}", new.name));
    }
    audit::done(
        conn,
        work,
        actor,
        "host.edit",
        Some(name.as_str()),
        event.message.clone(),
    )?;
    work.tell(event);
    let last = last_attempt(conn, &row)?;
    Ok(row.record(last.as_ref())?)
}

pub(crate) fn host_remove(
    conn: &mut Conn,
    work: &mut Work,
    name: &HostName,
    seen: Option<&HostRecord>,
    actor: &Actor,
) -> Answer<(), HostError> {
    let (host, attempt) = find_with_attempt(conn, name)?;
    refuse_stale(&host, seen)?;
    refuse_restarting(conn, work, &host)?;
    update!(
        conn,
        diesel::update(hosts::table.find(&host.id))
            .set((hosts::removed_at.eq(work.now().0), settle::nobody(),))
    )?;
    work.tell(about(EventKind::HostRemoved, name, actor, work));
    audit::done(conn, work, actor, "host.remove", Some(name.as_str()), None)?;
    match attempt.filter(|attempt| attempt.status == AttemptStatus::Pending.as_str()) {
        Some(attempt) => widen(skip_removed(conn, work, attempt)),
        None => Ok(()),
    }
}

/// The host leaves the plan before its turn. The stage has one less to count by, which may decide its gate.
fn skip_removed(conn: &mut Conn, work: &mut Work, mut attempt: AttemptRow) -> Answer<()> {
    AttemptStatus::Skipped
        .as_str()
        .clone_into(&mut attempt.status);
    update!(
        conn,
        diesel::update(attempts::table.find((&attempt.rollout, &attempt.host))).set((
            attempts::status.eq(&attempt.status),
            attempts::reason.eq(Reason::Removed.as_str()),
            attempts::finished_at.eq(work.now().0),
        )),
    )?;
    let stage: StageRow = update_returning!(
        conn,
        diesel::update(stages::table.find((&attempt.rollout, attempt.stage)))
            .set(stages::skipped.eq(stages::skipped + 1))
            .returning(StageRow::as_returning()),
    )?;
    work.tell(Event {
        reason: Some(Reason::Removed.to_string()),
        to: None,
        ..super::claim::about(EventKind::HostFinished, &attempt, work)?
    });
    let rollout = advance::lock(conn, &attempt.rollout)?;
    versions::mark(conn, work, &rollout)?;
    if rollout.stage == stage.position {
        settle::halt_if_certain(conn, work, &stage)?;
    }
    Ok(())
}

pub(crate) fn host_list(conn: &mut Conn, _: &mut Work) -> Answer<Vec<HostRecord>> {
    let rows: Vec<(HostRow, Option<LastAttempt>)> = fleet!()
        .order(hosts::name)
        .select((HostRow::as_select(), Option::<LastAttempt>::as_select()))
        .load(conn)?;
    let records = rows.iter().map(|(row, last)| row.record(last.as_ref()));
    Ok(records.collect::<Result<_, _>>()?)
}

pub(crate) fn host_get(
    conn: &mut Conn,
    _: &mut Work,
    name: &HostName,
) -> Answer<Option<HostRecord>> {
    let found: Option<(HostRow, Option<LastAttempt>)> = fleet!()
        .filter(hosts::name.eq(name.as_str()))
        .select((HostRow::as_select(), Option::<LastAttempt>::as_select()))
        .get_result(conn)
        .optional()?;
    let record = found.map(|(row, last)| row.record(last.as_ref()));
    Ok(record.transpose()?)
}

pub(crate) fn host_once(
    conn: &mut Conn,
    _: &mut Work,
    name: &HostName,
    rollout: &str,
) -> Answer<Option<HostRecord>> {
    let had_it: Option<String> = attempts::table
        .filter(attempts::rollout.eq(rollout))
        .filter(attempts::name.eq(name.as_str()))
        .select(attempts::host)
        .get_result(conn)
        .optional()?;
    let Some(had_it) = had_it else {
        return Ok(None);
    };
    let found: Option<(HostRow, Option<LastAttempt>)> = fleet!()
        .filter(hosts::id.eq(had_it))
        .select((HostRow::as_select(), Option::<LastAttempt>::as_select()))
        .get_result(conn)
        .optional()?;
    let record = found.map(|(row, last)| row.record(last.as_ref()));
    Ok(record.transpose()?)
}

fn last_attempt(conn: &mut Conn, host: &HostRow) -> QueryResult<Option<LastAttempt>> {
    let Some(rollout) = &host.last_rollout else {
        return Ok(None);
    };
    attempts::table
        .find((rollout, &host.id))
        .select(LastAttempt::as_select())
        .get_result(conn)
        .optional()
}

pub(crate) fn host_pin(
    conn: &mut Conn,
    work: &mut Work,
    name: &HostName,
    seen: Option<&HostRecord>,
    keys: &[String],
    actor: &Actor,
) -> Answer<(), HostError> {
    let host = find(conn, name)?;
    refuse_stale(&host, seen)?;
    update!(
        conn,
        diesel::update(hosts::table.find(&host.id)).set(hosts::host_keys.eq(to_json(&keys)))
    )?;
    work.tell(about(EventKind::HostTrusted, name, actor, work));
    let word = if keys.len() == 1 { "key" } else { "keys" };
    let detail = Some(format!("{} {word}", keys.len()));
    audit::done(conn, work, actor, "host.trust", Some(name.as_str()), detail)?;
    Ok(())
}

pub(crate) fn host_clear_attention(
    conn: &mut Conn,
    work: &mut Work,
    name: &HostName,
    actor: &Actor,
) -> Answer<(), HostError> {
    let host = find(conn, name)?;
    if host.needs_attention {
        update!(
            conn,
            diesel::update(hosts::table.find(&host.id)).set(hosts::needs_attention.eq(false))
        )?;
        work.tell(about(EventKind::HostCleared, name, actor, work));
        audit::done(conn, work, actor, "host.clear", Some(name.as_str()), None)?;
    }
    Ok(())
}

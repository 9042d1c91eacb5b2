//! Tries to sign in, and how long to wait between them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use diesel::prelude::*;
use fleet_types::LoginName;

use super::{Conn, audit};
use crate::api::sign_in_delay;
use crate::diesel_store::schema::sign_in_failures;
use crate::diesel_store::work::{Answer, Work, millis};

/// Failures are forgotten after this long without a try.
const FORGOTTEN: i64 = 15 * 60_000;

/// A time further ahead than this is of a clock that was set back; it says nothing.
const AHEAD: i64 = 60_000;

/// Failures of a source over all accounts that cost nothing: many people may sit behind one address.
const FREE_OF_SOURCE: i64 = 45;

/// So many rows at most. Who fails from more places at once pushes out old failures, no more.
const MOST: i64 = 10_000;

/// The rows that a try is counted in.
struct Counters {
    /// Of everybody at that source. Locked before the other one by all, so that no two wait for each other in a circle.
    source: String,
    /// Of the account from that source.
    pair: String,
}

impl Counters {
    fn new(account: &str, source: &str) -> Self {
        let source = place(source);
        // All that cannot be an account are one: what anybody can type is not kept.
        let account: Option<LoginName> = account.parse().ok();
        let account = account.as_ref().map_or("", LoginName::as_str);
        Self {
            pair: format!("pair {account} {source}"),
            source: format!("source {source}"),
        }
    }
}

/// Where a source is: an IPv6 subscriber has more addresses than could be counted, so their network counts.
fn place(source: &str) -> String {
    match source.parse().map(|address: IpAddr| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let network = address.to_bits() >> 64 << 64;
            format!("{}/64", Ipv6Addr::from_bits(network))
        }
        Ok(address) => address.to_string(),
        Err(_) => audit::plain(source).chars().take(100).collect(),
    }
}

/// Failures that still count, and when the last one was. The row is locked, and there afterwards.
fn failures(conn: &mut Conn, what: &str, now: i64) -> QueryResult<(i64, i64)> {
    diesel::insert_into(sign_in_failures::table)
        .values((
            sign_in_failures::what.eq(what),
            sign_in_failures::failures.eq(0),
            sign_in_failures::last_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    let (failures, last): (i64, i64) = locked!(
        sign_in_failures::table
            .find(what)
            .select((sign_in_failures::failures, sign_in_failures::last_at))
    )
    .get_result(conn)?;
    let age = now.saturating_sub(last);
    let counts = (-AHEAD..=FORGOTTEN).contains(&age);
    Ok((if counts { failures } else { 0 }, last))
}

/// What is left of the wait that so many failures ask for.
fn wait(failures: i64, last: i64, now: i64) -> i64 {
    let delay = sign_in_delay(u32::try_from(failures.max(0)).unwrap_or(u32::MAX));
    let delay = millis(delay);
    last.saturating_add(delay)
        .saturating_sub(now)
        .clamp(0, delay)
}

/// Counts the try, or says how long to wait; then it is not counted. That is no refusal, for one would undo the calls
/// that share its commit: whoever floods the sign-in must not slow down rollouts.
pub(crate) fn sign_in_try(
    conn: &mut Conn,
    work: &mut Work,
    account: &str,
    source: &str,
) -> Answer<Option<Duration>> {
    let now = work.now().0;
    make_room(conn, now)?;
    let counters = Counters::new(account, source);
    let mut counts = Vec::new();
    for (what, free) in [(counters.source, FREE_OF_SOURCE), (counters.pair, 0)] {
        let (failures, last) = failures(conn, &what, now)?;
        let left = wait(failures.saturating_sub(free), last, now);
        if left > 0 {
            return Ok(Some(Duration::from_millis(left.unsigned_abs())));
        }
        counts.push((what, failures.saturating_add(1)));
    }
    for (what, failures) in counts {
        diesel::update(sign_in_failures::table.find(what))
            .set((
                sign_in_failures::failures.eq(failures),
                sign_in_failures::last_at.eq(now),
            ))
            .execute(conn)?;
    }
    Ok(None)
}

/// Forgets what is old, and what is oldest when that is not enough.
fn make_room(conn: &mut Conn, now: i64) -> QueryResult<()> {
    let times = sign_in_failures::last_at;
    let rows: i64 = sign_in_failures::table.count().get_result(conn)?;
    if rows < MOST / 10 {
        return Ok(());
    }
    let old = sign_in_failures::table.filter(times.lt(now.saturating_sub(FORGOTTEN)));
    let forgotten = diesel::delete(old).execute(conn)?;
    if rows.saturating_sub(i64::try_from(forgotten).unwrap_or(0)) < MOST {
        return Ok(());
    }
    // A tenth at once, so that this is not done each time.
    let last_to_go: i64 = sign_in_failures::table
        .order(times)
        .offset(MOST / 10)
        .limit(1)
        .select(times)
        .get_result(conn)?;
    diesel::delete(sign_in_failures::table.filter(times.le(last_to_go))).execute(conn)?;
    Ok(())
}

pub(crate) fn sign_in_done(
    conn: &mut Conn,
    _: &mut Work,
    account: &str,
    source: &str,
) -> Answer<()> {
    let counters = Counters::new(account, source);
    let _: Option<i64> = locked!(
        sign_in_failures::table
            .find(&counters.source)
            .select(sign_in_failures::failures)
    )
    .get_result(conn)
    .optional()?;
    let forgiven: Option<i64> = diesel::delete(sign_in_failures::table.find(counters.pair))
        .returning(sign_in_failures::failures)
        .get_result(conn)
        .optional()?;
    // What people mistype before they get in is not held against their address.
    if let Some(forgiven) = forgiven {
        diesel::update(
            sign_in_failures::table
                .find(counters.source)
                .filter(sign_in_failures::failures.ge(forgiven)),
        )
        .set(sign_in_failures::failures.eq(sign_in_failures::failures - forgiven))
        .execute(conn)?;
    }
    Ok(())
}

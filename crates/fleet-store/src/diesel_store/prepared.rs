//! Updates that stay prepared.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::RunQueryDsl;
use diesel::sql_types::BigInt;

/// An `UPDATE … RETURNING` whose prepared statement is kept for the next time.
///
/// diesel prepares every update anew, because in general its columns may differ from one time to the next; parsing it
/// then costs several times what running it does. Statements are kept by their text, so this is right for any update
/// that comes in few variants, as all of ours do.
///
/// A query is only known as this type while it is passed by value, which loading does and `execute` does not: updates
/// that return nothing are run by `update!`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared<Q>(Q);

/// An `UPDATE` that returns nothing, run as a query without rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreparedSilent<Q>(Q);

/// Keeps the statement of this update, which returns rows.
pub(crate) fn prepared<Q>(update: Q) -> Prepared<Q> {
    Prepared(update)
}

/// Keeps the statement of this update, which returns nothing.
pub(crate) fn prepared_silent<Q>(update: Q) -> PreparedSilent<Q> {
    PreparedSilent(update)
}

macro_rules! kept {
    ($kept:ident) => {
        impl<Q, DB> QueryFragment<DB> for $kept<Q>
        where
            DB: Backend,
            Q: QueryFragment<DB>,
        {
            fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                self.0.walk_ast(pass)
            }

            fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
                Ok(true)
            }
        }

        impl<Q> QueryId for $kept<Q> {
            type QueryId = ();

            /// Known by its text.
            const HAS_STATIC_QUERY_ID: bool = false;
        }
    };
}

kept!(Prepared);
kept!(PreparedSilent);

impl<Q: Query> Query for Prepared<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Conn> RunQueryDsl<Conn> for Prepared<Q> {}

impl<Q> Query for PreparedSilent<Q> {
    /// Of the rows that there are none of.
    type SqlType = BigInt;
}

/// Runs an update that returns nothing.
macro_rules! update {
    ($conn:expr, $update:expr $(,)?) => {{
        let update = $crate::diesel_store::prepared::prepared_silent($update);
        diesel::connection::LoadConnection::load($conn, update)
            .and_then(|rows| rows.into_iter().try_for_each(|row| row.map(drop)))
    }};
}

pub(crate) use update;

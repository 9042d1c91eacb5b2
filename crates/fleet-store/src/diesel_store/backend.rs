//! What the two databases do differently, outside of the query bodies.

use std::fmt;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::Error;

use super::work::{Trouble, Work};
use crate::error::StoreError;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads from one snapshot.
    Read,
    /// Changes rows.
    Write,
}

/// One kind of database, and where it is.
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// A connection to it.
    type Conn: diesel::connection::SimpleConnection + Send + 'static;

    /// Whether savepoints are cheap. Where each costs two round trips, the jobs of a group that was undone are run one
    /// by one instead.
    const SAVEPOINTS: bool;

    /// How many connections write at once.
    const WRITERS: usize;

    /// At most so many jobs share a commit.
    const GROUP: usize;

    /// How long whoever closes the store waits for what was asked for before; none: until it is done.
    const PARTING: Option<Duration>;

    fn connect(&self, access: Access) -> Result<Self::Conn, StoreError>;

    /// Begins a transaction.
    fn begin(conn: &mut Self::Conn, access: Access) -> QueryResult<()>;

    /// Ends a transaction; an error when nothing of it stays, or when that is not known.
    fn commit(conn: &mut Self::Conn) -> QueryResult<()>;

    /// Numbers and writes the events of the transaction; answers the number of the last one.
    fn flush(conn: &mut Self::Conn, work: &mut Work) -> QueryResult<i64>;

    /// Whether another try may go better: a deadlock, a lost race for a unique key.
    fn worth_another_try(&self, error: &Error) -> bool;

    /// Whether the connection cannot be used any more.
    fn is_broken(error: &Error) -> bool;

    /// The error by which it says this; none for what it never says.
    #[cfg(feature = "crash-points")]
    fn error_of(fault: crate::crash_points::CallFault) -> Option<Error>;

    /// The error in words.
    fn explain(&self, error: &Error) -> StoreError;

    /// The trouble in words.
    fn explain_trouble(&self, trouble: &Trouble) -> StoreError {
        match trouble {
            Trouble::Database(error) => self.explain(error),
            Trouble::Corrupt { table, cause } => StoreError::Corrupt {
                table,
                cause: cause.clone(),
            },
            Trouble::Refused(cause) => StoreError::Database {
                cause: cause.clone(),
            },
            Trouble::Known(error) => error.clone(),
        }
    }
}

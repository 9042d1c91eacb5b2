//! What can go wrong, one enum per kind of operation.

#[cfg(feature = "diesel")]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use fleet_types::{Invalid, RolloutId, Timestamp};

use crate::records::Schema;

/// The store itself cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL is not one of ours.
    #[error("{url:?} is not a database URL; use sqlite://PATH or postgres://…")]
    Url {
        /// As given, without password.
        url: String,
    },
    /// It cannot be opened.
    #[error("the database {database} cannot be opened: {cause}")]
    Open {
        /// Which, without password.
        database: String,
        /// Why.
        cause: String,
    },
    /// A connection to it would not be as safe as was asked for.
    #[error("the connection to the database {database} is not safe: {cause}; {help}")]
    Tls {
        /// Which, without password.
        database: String,
        /// Why.
        cause: String,
        /// What to do about it.
        help: String,
    },
    /// The file is something else.
    #[error("{database} is not a rollout database: {cause}")]
    NotOurs {
        /// Which.
        database: String,
        /// What it is.
        cause: String,
    },
    /// A fleet was imported into it since it was opened: hosts would be told of the store that was there before.
    #[error(
        "a fleet was imported into the database {database} since this program opened it; start it again"
    )]
    Replaced {
        /// Which.
        database: String,
    },
    /// A newer program made its schema, and this one cannot work on it.
    #[error(
        "the database {database} was made by a newer version (schema {found}, compatible since {since}, this program knows {known})"
    )]
    TooNew {
        /// Which.
        database: String,
        /// Its schema.
        found: Schema,
        /// The oldest schema that a program must know to work on it.
        since: Schema,
        /// Ours.
        known: Schema,
    },
    /// This program would change the schema into one that older programs, which are at work now, cannot work on.
    #[error(
        "the database {database} cannot be brought up to date while older programs work on it ({workers}): they must know schema {since}"
    )]
    OlderAtWork {
        /// Which.
        database: String,
        /// The oldest schema that a program must know afterwards.
        since: Schema,
        /// Those that know less, for people.
        workers: String,
    },
    /// It can be read but not written.
    #[error("the database {database} is read-only: {cause}")]
    ReadOnly {
        /// Which.
        database: String,
        /// Why.
        cause: String,
    },
    /// There is no room.
    #[error("no space left for the database {database}: {cause}")]
    Full {
        /// Which.
        database: String,
        /// What the system said.
        cause: String,
    },
    /// Another process held it for too long, or two waited for each other. Nothing was changed; a later call may succeed.
    #[error("the database did not answer: {cause}")]
    Busy {
        /// What the database said.
        cause: String,
    },
    /// The connection is gone. Nothing was changed, or what was changed is not known; a later call may succeed.
    #[error("the database did not answer: {cause}")]
    Unavailable {
        /// What the database said.
        cause: String,
    },
    /// A row does not say what this program can understand.
    #[error("a row of {table} cannot be understood: {cause}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// Any other refusal by the database.
    #[error("the database refused: {cause}")]
    Database {
        /// What it said.
        cause: String,
    },
}

impl StoreError {
    /// What is wrong in a few words that anybody may see: no path, no address, nothing that the database said.
    #[must_use]
    pub fn in_brief(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::Url { .. } => "the database cannot be opened",
            Self::Tls { .. } => "the connection to the database is not safe",
            Self::NotOurs { .. } => "the database is damaged, or is another one",
            Self::Replaced { .. } => {
                "a fleet was imported into the database; start the program again"
            }
            Self::TooNew { .. } => "a newer version has changed the database",
            Self::OlderAtWork { .. } => "an older version works on the database",
            Self::ReadOnly { .. } => "the database is read-only",
            Self::Full { .. } => "no space is left for the database",
            Self::Busy { .. } | Self::Unavailable { .. } => "the database does not answer",
            Self::Corrupt { .. } | Self::Database { .. } => "the database cannot be used",
        }
    }

    /// Whether the store may well answer later: it is away, full or read-only, all of which people mend while we wait.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Unavailable { .. }
                | Self::Full { .. }
                | Self::ReadOnly { .. }
                | Self::Open { .. }
        )
    }
}

/// A change of the inventory was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No such host.
    #[error("there is no host {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The name is taken.
    #[error("there is a host {name} already")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Another entry has the same machine and repository.
    #[error("{name} would be the same repository on the same machine as {other}")]
    DuplicateRepository {
        /// The name refused.
        name: String,
        /// The entry that is there.
        other: String,
    },
    /// It is being updated.
    #[error("{name} is being updated by rollout {rollout}")]
    Updating {
        /// The host.
        name: String,
        /// By which rollout.
        rollout: RolloutId,
    },
    /// A health check restarts its service.
    #[error("a health check is restarting the service of {name}")]
    Restarting {
        /// The host.
        name: String,
    },
    /// Somebody changed it meanwhile.
    #[error("{name} was changed by somebody since it was looked at")]
    Stale {
        /// The host.
        name: String,
    },
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A rollout was not created. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// The same request was carried out before: this is its rollout.
    #[error("this request was carried out already, as rollout {rollout}")]
    Repeated {
        /// Which.
        rollout: RolloutId,
    },
    /// The request's key was used for another request.
    #[error("the idempotency key was used for another request already")]
    KeyReused,
    /// Another rollout is active.
    #[error("rollout {id} is active; {started_by} started it at {created_at}")]
    Active {
        /// Which.
        id: RolloutId,
        /// By whom.
        started_by: String,
        /// When.
        created_at: Timestamp,
        /// Whether a live process works on it.
        attended: bool,
        /// Whether it is paused.
        paused: bool,
    },
    /// The plan has no hosts.
    #[error("the plan has no hosts")]
    NoHosts,
    /// A host of the plan is not in the fleet any more.
    #[error("a host of the plan was removed meanwhile")]
    HostGone,
    /// The commit halted a rollout before.
    #[error("commit {version} halted rollout {rollout} by failing on hosts it touched")]
    KnownBad {
        /// The commit.
        version: String,
        /// The rollout.
        rollout: RolloutId,
    },
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A verb was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerbError {
    /// No such rollout.
    #[error("there is no rollout {id}")]
    Unknown {
        /// As asked for.
        id: RolloutId,
    },
    /// It does not apply in this state.
    #[error("rollout {id} is {state}; it cannot be asked to {verb}")]
    WrongState {
        /// Which.
        id: RolloutId,
        /// Its state.
        state: fleet_types::RolloutState,
        /// The verb.
        verb: fleet_types::Verb,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A write under a lease did not take effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else owns it now, or nobody: stop, send nothing more.
    #[error("the lease is lost: {what}")]
    Lost {
        /// Which, and to whom if known.
        what: String,
    },
    /// The event cannot happen in the state on record.
    #[error(transparent)]
    Illegal(#[from] fleet_types::IllegalEvent),
    /// The store failed; whether the write took effect is not known unless the error says so.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// People, sessions or tokens: refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// No such person, session or token.
    #[error("there is no {what} {name}")]
    Unknown {
        /// `user`, `session` or `token`.
        what: &'static str,
        /// As asked for.
        name: String,
    },
    /// The name is taken.
    #[error("there is a {what} {name} already")]
    Duplicate {
        /// `user` or `token`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nobody could sign in as an admin then.
    #[error("{name} is the last admin who can sign in")]
    LastAdmin {
        /// Who.
        name: String,
    },
    /// There is an admin already, or the secret is not the one that was offered, or its time is over.
    #[error("the setup secret is not valid (any more)")]
    SetupOver,
    /// Too many tries went wrong.
    #[error("too many tries; wait {} s", wait.as_secs().max(1))]
    TooManyTries {
        /// How long.
        wait: Duration,
    },
    /// A value is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fleet could not be moved or copied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MoveError {
    /// What is under way cannot be moved.
    #[error("rollout {rollout} is active")]
    Active {
        /// Which.
        rollout: String,
    },
    /// Only an empty database takes a fleet in.
    #[error("the database is not empty: it has {what}")]
    NotEmpty {
        /// Something that is in it.
        what: &'static str,
    },
    /// A copy can be made of a file only.
    #[error("only an SQLite database can be copied; a PostgreSQL database is backed up by pg_dump")]
    NotAFile,
    /// The file cannot be read or written.
    #[error("{} cannot be used: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The file is not what was written once.
    #[error("{} cannot be imported: line {line}: {cause}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where it was found out.
        line: u64,
        /// Why.
        cause: String,
    },
    /// Another program wrote the file.
    #[error("{} is of version {found}, which this program does not know", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A newer version of the program made it: what this one does not know of would be left out.
    #[error("{what} has schema {found}, and this program knows {known}: use the newer one")]
    Newer {
        /// The database, or the file.
        what: String,
        /// Its schema.
        found: Schema,
        /// Ours.
        known: Schema,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MoveError {
    #[cfg(feature = "diesel")]
    pub(crate) fn file(path: &Path, error: std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "it exists already".to_owned(),
            _ => error.to_string(),
        };
        Self::File {
            path: path.to_owned(),
            cause,
        }
    }
}

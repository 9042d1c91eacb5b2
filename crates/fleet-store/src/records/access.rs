//! People, sessions, tokens and the audit trail.

use std::fmt;
use std::time::Duration;

use fleet_types::{AuditResult, LoginName, Role, Timestamp, TokenId};
use uuid::Uuid;

use super::Actor;

/// An Argon2id hash in PHC form. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

/// SHA-256 of a random secret of 256 bits. Enough for those; passwords are hashed with Argon2id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

/// A person to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Name to sign in with.
    pub name: LoginName,
    /// What they may do.
    pub role: Role,
    /// Their password; none means they cannot sign in here.
    pub password: Option<PasswordHash>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Name to sign in with.
    pub name: LoginName,
    /// What they may do.
    pub role: Role,
    /// Their password's hash.
    pub password: Option<PasswordHash>,
    /// When they were added.
    pub created_at: Timestamp,
    /// When they signed in last.
    pub last_sign_in_at: Option<Timestamp>,
    /// When they were locked out.
    pub disabled_at: Option<Timestamp>,
}

/// Which session; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// A session to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// Whose.
    pub user: LoginName,
    /// The password that was shown to be known. When it is another one by now, no session begins.
    pub checked: Option<PasswordHash>,
    /// From which address, as shown.
    pub source: String,
}

/// A session that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: LoginName,
    /// What they may do now.
    pub role: Role,
    /// From which address it was begun.
    pub source: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
}

/// Which sessions of a person are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichSessions {
    /// This one.
    One(SessionId),
    /// All but this one, which has to be open itself.
    AllBut(SessionId),
    /// All.
    All,
}

impl WhichSessions {
    /// Whether this one is meant.
    #[must_use]
    pub fn holds(self, id: SessionId) -> bool {
        match self {
            Self::One(one) => id == one,
            Self::AllBut(kept) => id != kept,
            Self::All => true,
        }
    }
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// Unused for this long, it is over.
    pub idle: Duration,
    /// In any case it is over after this long.
    pub absolute: Duration,
}

impl Default for SessionTimes {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 3600),
        }
    }
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// What it acts as. With the role `owner`, the owner whose instances it sees.
    pub name: LoginName,
    /// What it may do.
    pub role: Role,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// What it acts as.
    pub name: LoginName,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Position in the audit trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(pub i64);

/// A row to add to the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// Who, and from where.
    pub actor: Actor,
    /// What: `rollout.pause`, `host.edit`, `session.open`.
    pub action: String,
    /// On what: a rollout's id, a host's name.
    pub subject: Option<String>,
    /// What came of it.
    pub result: AuditResult,
    /// More, for people. Printable, no secrets.
    pub detail: Option<String>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Position.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who, and from where.
    pub actor: Actor,
    /// What.
    pub action: String,
    /// On what.
    pub subject: Option<String>,
    /// What came of it.
    pub result: AuditResult,
    /// More, for people.
    pub detail: Option<String>,
}

/// Which rows of the audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those before this one.
    pub before: Option<AuditId>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only those since then.
    pub since: Option<Timestamp>,
    /// At most this many.
    pub limit: u32,
}

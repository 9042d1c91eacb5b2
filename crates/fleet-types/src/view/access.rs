//! People, tokens, and who did what.

use serde::{Deserialize, Serialize};

use crate::ids::TokenId;
use crate::status::{AuditResult, Role};
use crate::time::Timestamp;

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct User {
    /// The name to sign in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created_at: Timestamp,
    /// When they last signed in.
    pub last_sign_in_at: Option<Timestamp>,
    /// Since when they are locked out; null when they are not.
    pub disabled_at: Option<Timestamp>,
    /// Whether there is a password to sign in with.
    pub has_password: bool,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it acts as.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself; null when it does not.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked; null when it was not.
    pub revoked_at: Option<Timestamp>,
}

/// A token that was made. This is the only time that its secret is shown, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// The secret.
    pub token: String,
    /// When it ends by itself; null when it does not.
    pub expires_at: Option<Timestamp>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Its number; later rows have greater ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: String,
    /// What: `rollout.pause`, `host.edit`.
    pub action: String,
    /// On what.
    pub subject: Option<String>,
    /// What came of it.
    pub result: AuditResult,
    /// More, for people.
    pub detail: Option<String>,
}

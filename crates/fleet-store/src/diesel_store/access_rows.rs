//! Rows of people, sessions, tokens and the audit trail.

use diesel::prelude::*;
use fleet_types::{Timestamp, printable};

use super::rows::word;
use super::schema::{audit, sessions, tokens, users};
use super::work::Trouble;
use crate::records::*;

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = users, treat_none_as_default_value = false)]
pub(crate) struct UserRow {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) password: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) last_sign_in_at: Option<i64>,
    pub(crate) disabled_at: Option<i64>,
}

impl UserRow {
    pub(crate) fn new(user: &NewUser, at: Timestamp) -> Self {
        Self {
            name: user.name.to_string(),
            role: user.role.as_str().to_owned(),
            password: user.password.clone().map(|hash| hash.0),
            created_at: at.0,
            last_sign_in_at: None,
            disabled_at: None,
        }
    }

    pub(crate) fn record(&self) -> Result<UserRecord, Trouble> {
        Ok(UserRecord {
            name: word("users", &self.name)?,
            role: word("users", &self.role)?,
            password: self.password.clone().map(PasswordHash),
            created_at: Timestamp(self.created_at),
            last_sign_in_at: self.last_sign_in_at.map(Timestamp),
            disabled_at: self.disabled_at.map(Timestamp),
        })
    }
}

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
pub(crate) struct SessionRow {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) user_name: String,
    pub(crate) source: String,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: i64,
}

impl SessionRow {
    pub(crate) fn record(&self, role: &str) -> Result<SessionRecord, Trouble> {
        let id = uuid::Uuid::parse_str(&self.id).map_err(|error| Trouble::Corrupt {
            table: "sessions",
            cause: error.to_string(),
        })?;
        Ok(SessionRecord {
            id: SessionId(id),
            user: word("sessions", &self.user_name)?,
            role: word("users", role)?,
            source: self.source.clone(),
            created_at: Timestamp(self.created_at),
            last_used_at: Timestamp(self.last_used_at),
        })
    }
}

#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = tokens, treat_none_as_default_value = false)]
pub(crate) struct TokenRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) secret: String,
    pub(crate) created_by: String,
    pub(crate) login: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
}

impl TokenRow {
    /// `login` is the person whom it goes back to.
    pub(crate) fn new(
        token: &NewToken,
        actor: &Actor,
        login: Option<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            role: token.role.as_str().to_owned(),
            secret: hex(&token.secret),
            created_by: printable(&actor.name),
            login,
            created_at: at.0,
            expires_at: token.expires_at.map(|at| at.0),
            last_used_at: None,
            revoked_at: None,
        }
    }

    pub(crate) fn record(&self) -> Result<TokenRecord, Trouble> {
        let t = "tokens";
        Ok(TokenRecord {
            id: word(t, &self.id)?,
            name: word(t, &self.name)?,
            role: word(t, &self.role)?,
            created_by: self.created_by.clone(),
            created_at: Timestamp(self.created_at),
            expires_at: self.expires_at.map(Timestamp),
            last_used_at: self.last_used_at.map(Timestamp),
            revoked_at: self.revoked_at.map(Timestamp),
        })
    }
}

/// A row of the trail to write; the database numbers it.
#[derive(Clone, Insertable)]
#[diesel(table_name = audit, treat_none_as_default_value = false)]
pub(crate) struct NewAuditRow {
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) source: String,
    pub(crate) action: String,
    pub(crate) subject: Option<String>,
    pub(crate) result: String,
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = audit)]
pub(crate) struct AuditRow {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) source: String,
    pub(crate) action: String,
    pub(crate) subject: Option<String>,
    pub(crate) result: String,
    pub(crate) detail: Option<String>,
}

impl AuditRow {
    pub(crate) fn record(self) -> Result<AuditRecord, Trouble> {
        Ok(AuditRecord {
            id: AuditId(self.id),
            at: Timestamp(self.at),
            result: word("audit", &self.result)?,
            actor: Actor::new(self.actor, self.source),
            action: self.action,
            subject: self.subject,
            detail: self.detail,
        })
    }
}

/// A hash as it is stored: 64 lower-case hexadecimal digits.
pub(crate) fn hex(hash: &SecretHash) -> String {
    use std::fmt::Write as _;
    hash.0
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

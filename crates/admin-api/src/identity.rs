//! Who is asking.

use std::fmt;

use async_trait::async_trait;
use axum::http::request::Parts;
use fleet_store::{Actor, SessionId};
use fleet_types::{Role, TokenId};

/// Whoever made a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Their name; of a token, its name. The owner of hosts is compared with it.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// From which address.
    pub source: String,
    /// How they proved it.
    pub kind: CallerKind,
}

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// A person, by the cookie of a session.
    Session(SessionId),
    /// A program, by a bearer token.
    Token(TokenId),
    /// In the way of the embedding service.
    Embedded,
}

impl Caller {
    /// The caller as the store and its audit know them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::new(self.name.clone(), self.source.clone())
    }

    /// The caller as the owner of what only they may see again: a person's tokens do not mix with their sessions.
    pub(crate) fn scope(&self) -> String {
        match self.kind {
            CallerKind::Token(id) => format!("token:{id}"),
            CallerKind::Session(_) => format!("user:{}", self.name),
            CallerKind::Embedded => format!("embedded:{}", self.name),
        }
    }
}

/// Tells who made a request. Asked for every request that needs a right, and again while an event stream is open, so that
/// whoever is locked out is so at once.
#[async_trait]
pub trait Identify: fmt::Debug + Send + Sync {
    /// Who it is; none when the request proves nothing. [`Caller::source_of`] says from which address.
    async fn identify(&self, parts: &Parts) -> Result<Option<Caller>, IdentifyError>;
}

/// It cannot be told now who it is. The request is refused as if the service were down.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be told who is asking")]
pub struct IdentifyError {
    /// Why.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// The address a request came from, put on every request by the guards.
#[derive(Clone, Debug)]
pub(crate) struct ClientAddress(pub(crate) String);

impl Caller {
    /// The address that a request came from, as the audit names it: that of the connection, or what a trusted proxy says.
    #[must_use]
    pub fn source_of(parts: &Parts) -> String {
        parts
            .extensions
            .get::<ClientAddress>()
            .map_or_else(|| "unknown".to_owned(), |address| address.0.clone())
    }
}

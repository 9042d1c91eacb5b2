//! People, sessions, tokens and the audit trail.

use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{LoginName, Timestamp, TokenId};

use super::run;
use crate::api::{Access, Audit};
use crate::diesel_store::desk::Rank;
use crate::diesel_store::store::{DieselStore, Engines};
use crate::diesel_store::work::Work;
use crate::diesel_store::{on_postgres, on_sqlite};
use crate::error::{AccessError, StoreError};
use crate::records::*;

/// A time of last use is written anew when it is this old, in milliseconds.
const TOUCH: i64 = 60_000;

impl DieselStore {
    fn is_stale(&self, used: Option<Timestamp>) -> bool {
        let now = self.inputs.clock.now().0;
        used.is_none_or(|used| now.saturating_sub(used.0) >= TOUCH)
    }
}

/// Nobody is kept out because a use could not be noted: looking must go on while the disk is full.
fn unless_noted(touched: Result<(), StoreError>) {
    if let Err(error) = touched {
        tracing::warn!(%error, "the use of a session or a token could not be noted");
    }
}

#[async_trait]
impl Access for DieselStore {
    async fn user_add(&self, user: NewUser, actor: &Actor) -> Result<UserRecord, AccessError> {
        let actor = actor.clone();
        run!(self, write People, |conn, work, q| q::users::user_add(conn, work, &user, &actor))
    }

    async fn user_get(&self, name: &LoginName) -> Result<Option<UserRecord>, StoreError> {
        let name = name.clone();
        run!(self, read, |conn, work, q| q::users::user_get(
            conn, work, &name
        ))
    }

    async fn user_list(&self) -> Result<Vec<UserRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::users::user_list(conn, work))
    }

    async fn user_set_password(
        &self,
        name: &LoginName,
        password: PasswordHash,
        actor: &Actor,
    ) -> Result<(), AccessError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write People, |conn, work, q| q::users::user_set_password(
            conn, work, &name, &password, &actor
        ))
    }

    async fn user_change_password(
        &self,
        name: &LoginName,
        known: PasswordHash,
        password: PasswordHash,
        actor: &Actor,
    ) -> Result<bool, AccessError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write People, |conn, work, q| q::users::user_change_password(
            conn, work, &name, &known, &password, &actor
        ))
    }

    async fn user_disable(
        &self,
        name: &LoginName,
        disabled: bool,
        actor: &Actor,
    ) -> Result<(), AccessError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write People, |conn, work, q| q::users::user_disable(
            conn, work, &name, disabled, &actor
        ))
    }

    async fn setup_offer(
        &self,
        secret: SecretHash,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        run!(self, write People, |conn, work, q| q::users::setup_offer(
            conn, work, &secret, expires_at
        ))
    }

    async fn setup_claim(
        &self,
        secret: &SecretHash,
        user: NewUser,
        actor: &Actor,
    ) -> Result<UserRecord, AccessError> {
        let (secret, actor) = (*secret, actor.clone());
        run!(self, write People, |conn, work, q| q::users::setup_claim(
            conn, work, &secret, &user, &actor
        ))
    }

    async fn sign_in_try(&self, account: &str, source: &str) -> Result<(), AccessError> {
        let (account, source) = (account.to_owned(), source.to_owned());
        let left: Result<Option<Duration>, StoreError> = run!(self, write People, |conn, work, q| q::sign_in::sign_in_try(
            conn, work, &account, &source
        ));
        match left? {
            None => Ok(()),
            Some(wait) => Err(AccessError::TooManyTries { wait }),
        }
    }

    async fn sign_in_done(&self, account: &str, source: &str) -> Result<(), StoreError> {
        let (account, source) = (account.to_owned(), source.to_owned());
        run!(self, write People, |conn, work, q| q::sign_in::sign_in_done(
            conn, work, &account, &source
        ))
    }

    async fn session_open(&self, session: NewSession, actor: &Actor) -> Result<(), AccessError> {
        let actor = actor.clone();
        run!(self, write People, |conn, work, q| q::sessions::session_open(
            conn, work, &session, &actor
        ))
    }

    async fn session_find(
        &self,
        secret: &SecretHash,
        times: SessionTimes,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let secret = *secret;
        let found: Result<Option<SessionRecord>, StoreError> =
            run!(self, read, |conn, work, q| q::sessions::session_find(
                conn, work, &secret, times
            ));
        let found = found?;
        if let Some(session) = &found
            && self.is_stale(Some(session.last_used_at))
        {
            let id = session.id;
            let touched: Result<(), StoreError> = run!(self, write People, |conn, work, q| q::sessions::session_touch(conn, work, id));
            unless_noted(touched);
        }
        Ok(found)
    }

    async fn session_list(
        &self,
        name: &LoginName,
        times: SessionTimes,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let name = name.clone();
        run!(self, read, |conn, work, q| q::sessions::session_list(
            conn, work, &name, times
        ))
    }

    async fn session_end(&self, id: SessionId, actor: &Actor) -> Result<(), StoreError> {
        let actor = actor.clone();
        run!(self, write People, |conn, work, q| q::sessions::session_end(
            conn, work, id, &actor
        ))
    }

    async fn session_end_of(
        &self,
        name: &LoginName,
        which: WhichSessions,
        times: SessionTimes,
        actor: &Actor,
    ) -> Result<u32, AccessError> {
        let (name, actor) = (name.clone(), actor.clone());
        run!(self, write People, |conn, work, q| q::sessions::session_end_of(
            conn, work, &name, which, times, &actor
        ))
    }

    async fn token_create(
        &self,
        token: NewToken,
        actor: &Actor,
    ) -> Result<TokenRecord, AccessError> {
        let actor = actor.clone();
        run!(self, write People, |conn, work, q| q::tokens::token_create(
            conn, work, &token, &actor
        ))
    }

    async fn token_find(&self, secret: &SecretHash) -> Result<Option<TokenRecord>, StoreError> {
        let secret = *secret;
        let found: Result<Option<TokenRecord>, StoreError> =
            run!(self, read, |conn, work, q| q::tokens::token_find(
                conn, work, &secret
            ));
        let found = found?;
        if let Some(token) = &found
            && self.is_stale(token.last_used_at)
        {
            let id = token.id;
            let touched: Result<(), StoreError> =
                run!(self, write People, |conn, work, q| q::tokens::token_touch(conn, work, id));
            unless_noted(touched);
        }
        Ok(found)
    }

    async fn token_list(&self) -> Result<Vec<TokenRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::tokens::token_list(
            conn, work
        ))
    }

    async fn token_revoke(&self, id: TokenId, actor: &Actor) -> Result<(), AccessError> {
        let actor = actor.clone();
        run!(self, write People, |conn, work, q| q::tokens::token_revoke(
            conn, work, id, &actor
        ))
    }
}

#[async_trait]
impl Audit for DieselStore {
    async fn audit_note(&self, entry: NewAudit) -> Result<AuditId, StoreError> {
        run!(self, write People, |conn, work, q| q::audit::audit_note(conn, work, &entry))
    }

    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        run!(self, read, |conn, work, q| q::audit::audit_list(
            conn, work, &query
        ))
    }
}

//! Who may come in: people, their sessions, and the tokens of programs.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{LoginName, Timestamp, TokenId};

use crate::error::{AccessError, StoreError};
use crate::records::{
    Actor, NewSession, NewToken, NewUser, PasswordHash, SecretHash, SessionId, SessionRecord,
    SessionTimes, TokenRecord, UserRecord, WhichSessions,
};

/// People, sessions and tokens. Secrets come in as hashes and never go out. What is disabled, revoked or ended is so at
/// once for every process on the store: each look asks the store.
#[async_trait]
pub trait Access: fmt::Debug + Send + Sync {
    /// Adds a person.
    async fn user_add(&self, user: NewUser, actor: &Actor) -> Result<UserRecord, AccessError>;
    /// One person, with the hash of their password.
    async fn user_get(&self, name: &LoginName) -> Result<Option<UserRecord>, StoreError>;
    /// Everybody, by name.
    async fn user_list(&self) -> Result<Vec<UserRecord>, StoreError>;
    /// Sets a new password and ends all sessions of that person.
    async fn user_set_password(
        &self,
        name: &LoginName,
        password: PasswordHash,
        actor: &Actor,
    ) -> Result<(), AccessError>;
    /// The same for a person who may sign in, while their password still is the one that is known. False, and nothing is
    /// changed, when somebody set another or locked them out meanwhile.
    async fn user_change_password(
        &self,
        name: &LoginName,
        known: PasswordHash,
        password: PasswordHash,
        actor: &Actor,
    ) -> Result<bool, AccessError>;
    /// Locks a person out, ending their sessions and refusing the tokens that they made, or lets them in again. The last
    /// admin who can sign in cannot be locked out.
    async fn user_disable(
        &self,
        name: &LoginName,
        disabled: bool,
        actor: &Actor,
    ) -> Result<(), AccessError>;

    /// Whoever shows the secret of this hash before `expires_at` may become the first admin. Replaces an earlier offer.
    /// False, and nothing is offered, when there is an admin who can sign in already.
    async fn setup_offer(
        &self,
        secret: SecretHash,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Takes the offer up, once: adds the first admin, whatever role was given. Refused when there is an admin who can
    /// sign in, when the secret is not the one offered or its time is over, and without a password. A refusal leaves the
    /// offer as it was.
    async fn setup_claim(
        &self,
        secret: &SecretHash,
        user: NewUser,
        actor: &Actor,
    ) -> Result<UserRecord, AccessError>;

    /// Counts one try to sign in as `account` from `source`, before the password is looked at. The error says how long to
    /// wait, and such a try is not counted: longer with each failure of that pair, and shared by all accounts when a source
    /// fails often. An account is never locked for other sources. A network of IPv6 (64 bits) is one source, and all that
    /// cannot be the name of a person are one account. Failures are forgotten after 15 minutes without a counted try.
    async fn sign_in_try(&self, account: &str, source: &str) -> Result<(), AccessError>;
    /// The password was right: forgets the failures of that pair.
    async fn sign_in_done(&self, account: &str, source: &str) -> Result<(), StoreError>;

    /// Begins a session.
    async fn session_open(&self, session: NewSession, actor: &Actor) -> Result<(), AccessError>;
    /// The session of this secret, unless it is over: ended, idle or open for too long, or its person is locked out.
    /// Notes that it was used.
    async fn session_find(
        &self,
        secret: &SecretHash,
        times: SessionTimes,
    ) -> Result<Option<SessionRecord>, StoreError>;
    /// The open sessions of a person, the latest first.
    async fn session_list(
        &self,
        name: &LoginName,
        times: SessionTimes,
    ) -> Result<Vec<SessionRecord>, StoreError>;
    /// Ends one session. Idempotent.
    async fn session_end(&self, id: SessionId, actor: &Actor) -> Result<(), StoreError>;
    /// Ends open sessions of one person, each with a row of its own in the trail: how many. Refused, and nothing is ended,
    /// when the person is not known, or the session that is named is not an open one of theirs.
    async fn session_end_of(
        &self,
        name: &LoginName,
        which: WhichSessions,
        times: SessionTimes,
        actor: &Actor,
    ) -> Result<u32, AccessError>;

    /// Makes a token. Names of tokens in force are unique. It ends with the person who makes it, also when they make it by
    /// means of another token.
    async fn token_create(
        &self,
        token: NewToken,
        actor: &Actor,
    ) -> Result<TokenRecord, AccessError>;
    /// The token of this secret, unless it is revoked, expired, or the person behind it is locked out. Notes that it was
    /// used.
    async fn token_find(&self, secret: &SecretHash) -> Result<Option<TokenRecord>, StoreError>;
    /// Every token, the latest first, those that are over too.
    async fn token_list(&self) -> Result<Vec<TokenRecord>, StoreError>;
    /// Ends a token. Idempotent.
    async fn token_revoke(&self, id: TokenId, actor: &Actor) -> Result<(), AccessError>;
}

/// How long somebody has to wait after `failures` tries in a row that went wrong.
#[must_use]
pub fn sign_in_delay(failures: u32) -> Duration {
    // The first five are free, for people mistype; then 1 s, 2 s, 4 s ... to a minute.
    match failures.checked_sub(5) {
        None => Duration::ZERO,
        Some(over) => Duration::from_secs(1_u64.checked_shl(over).unwrap_or(60).clamp(1, 60)),
    }
}

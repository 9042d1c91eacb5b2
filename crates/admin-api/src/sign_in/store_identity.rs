//! Who somebody is, as the store knows them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use fleet_store::{
    AccessError, Actor, AdminStore, NewAudit, NewSession, NewUser, PasswordHash, SessionId,
    SessionTimes, StoreError, UserRecord,
};
use fleet_types::{AuditResult, LoginName, Role, Timestamp, printable};
use uuid::Uuid;

use crate::guards::{Denials, Denied};
use crate::identity::{Caller, CallerKind, Identify, IdentifyError};
use crate::secrets::{self, Hasher};
use crate::sign_in::cookie::SessionCookie;

/// People and programs of the store.
#[derive(Debug)]
pub struct StoreIdentity {
    pub(super) store: Arc<dyn AdminStore>,
    times: SessionTimes,
    cookie: SessionCookie,
    pub(super) hasher: Hasher,
    denials: Denials,
}

/// Somebody who just signed in.
#[derive(Clone)]
pub struct SignedIn {
    /// The value of the `Set-Cookie` header. Holds the secret of the session.
    pub set_cookie: String,
    /// Who.
    pub name: LoginName,
    /// What they may do.
    pub role: Role,
    /// Their session.
    pub session: SessionId,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedIn({} as {})", self.name, self.role)
    }
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// There is nobody with this name and password who may sign in. Which of these it is is not said.
    #[error("name or password is wrong")]
    Wrong,
    /// Too many tries went wrong.
    #[error("too many tries; wait {} s", wait.as_secs().max(1))]
    TooManyTries {
        /// How long.
        wait: Duration,
    },
    /// The password is not one to choose.
    #[error(transparent)]
    Weak(#[from] secrets::WeakPassword),
    /// The old password of somebody who wants a new one is another.
    #[error("the old password is wrong")]
    WrongOld,
    /// The new password is the old one.
    #[error("the new password is the old one")]
    SameAgain,
    /// Whoever asks has no password here: a program, or somebody whom the embedding service knows.
    #[error("only somebody who signed in with a password has one to change")]
    NoPassword,
    /// The setup secret is not valid, or there is an admin already.
    #[error("the setup secret is not valid (any more)")]
    SetupOver,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many are signing in at once.
    #[error(transparent)]
    Busy(#[from] secrets::QueueFull),
    /// A fault of this machine.
    #[error("{cause}")]
    Internal {
        /// What is known of it.
        cause: String,
    },
}

impl From<AccessError> for SignInError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Store(error) => Self::Store(error),
            AccessError::TooManyTries { wait } => Self::TooManyTries { wait },
            AccessError::SetupOver => Self::SetupOver,
            // Locked out or gone between the password and the session.
            AccessError::Unknown { .. } => Self::Wrong,
            other => Self::Internal {
                cause: other.to_string(),
            },
        }
    }
}

impl StoreIdentity {
    pub(crate) fn new(
        store: Arc<dyn AdminStore>,
        times: SessionTimes,
        secure_cookies: bool,
        hasher: Hasher,
        denials: Denials,
    ) -> Self {
        Self {
            store,
            times,
            cookie: SessionCookie {
                secure: secure_cookies,
            },
            hasher,
            denials,
        }
    }

    /// Begins a session for whoever knows the password, always under a new secret; a session that the browser showed
    /// ends. `source` is [`Caller::source_of`] the request, `headers` are its headers.
    pub async fn sign_in(
        &self,
        account: &str,
        password: String,
        source: &str,
        headers: &HeaderMap,
    ) -> Result<SignedIn, SignInError> {
        // Who is sent away because of others has not tried.
        let place = self.hasher.enter()?;
        let shown: String = printable(account).chars().take(64).collect();
        self.try_again("session.open", &shown, source).await?;
        let name: Option<LoginName> = account.parse().ok();
        let user = match &name {
            Some(name) => self.store.user_get(name).await?,
            None => None,
        };
        let user = user.filter(|user| user.disabled_at.is_none());
        let hash = user.as_ref().and_then(|user| user.password.clone());
        if !password_fits(place, password, hash).await? {
            self.note_failure("session.open", &shown, source, None)
                .await;
            return Err(SignInError::Wrong);
        }
        let user = user.ok_or(SignInError::Wrong)?;
        self.store.sign_in_done(&shown, source).await?;
        self.end_shown(headers).await?;
        self.open(user, source).await
    }

    pub(super) async fn open(
        &self,
        user: UserRecord,
        source: &str,
    ) -> Result<SignedIn, SignInError> {
        let secret = secrets::new_secret().map_err(internal)?;
        let id = SessionId(Uuid::now_v7());
        let session = NewSession {
            id,
            secret: secret.hash,
            user: user.name.clone(),
            checked: user.password,
            source: source.to_owned(),
        };
        self.store
            .session_open(session, &Actor::new(user.name.to_string(), source))
            .await?;
        Ok(SignedIn {
            set_cookie: self.cookie.set(&secret.text),
            name: user.name,
            role: user.role,
            session: id,
        })
    }

    /// Ends the session that the browser showed, whosever it is.
    async fn end_shown(&self, headers: &HeaderMap) -> Result<(), StoreError> {
        let Some(secret) = self.cookie.read(headers) else {
            return Ok(());
        };
        let hash = secrets::secret_hash(&secret);
        if let Some(old) = self.store.session_find(&hash, self.times).await? {
            let actor = Actor::new(old.user.to_string(), old.source);
            self.store.session_end(old.id, &actor).await?;
        }
        Ok(())
    }

    /// Counts a try. That there may be none now goes on record.
    async fn try_again(
        &self,
        action: &str,
        account: &str,
        source: &str,
    ) -> Result<(), SignInError> {
        let tried = self.store.sign_in_try(account, source).await;
        if let Err(AccessError::TooManyTries { .. }) = tried {
            self.note_failure(action, account, source, Some("too many tries"))
                .await;
        }
        Ok(tried?)
    }

    pub(super) async fn note_failure(
        &self,
        action: &str,
        account: &str,
        source: &str,
        why: Option<&str>,
    ) {
        let entry = NewAudit {
            actor: Actor::new(account, source),
            action: action.to_owned(),
            subject: Some(account.to_owned()),
            result: AuditResult::Denied,
            detail: why.map(str::to_owned),
        };
        let whose = Denied::SignIn(source.to_owned());
        self.denials.note(whose, entry).await;
    }

    /// Ends the caller's session. The answer is the `Set-Cookie` header that makes the browser forget it.
    pub async fn sign_out(&self, caller: &Caller) -> Result<String, StoreError> {
        if let CallerKind::Session(id) = caller.kind {
            self.store.session_end(id, &caller.actor()).await?;
        }
        Ok(self.cookie.clear())
    }

    /// Offers the place of the first admin to whoever shows the secret returned, for `valid`. None when there is an admin.
    pub async fn offer_setup(
        &self,
        now: Timestamp,
        valid: Duration,
    ) -> Result<Option<String>, SignInError> {
        let secret = secrets::new_secret().map_err(internal)?;
        let until = Timestamp(
            now.0
                .saturating_add(i64::try_from(valid.as_millis()).unwrap_or(i64::MAX)),
        );
        let offered = self.store.setup_offer(secret.hash, until).await?;
        Ok(offered.then_some(secret.text))
    }

    /// Takes the offer up: adds the first admin and signs them in.
    pub async fn claim_setup(
        &self,
        secret: &str,
        name: LoginName,
        password: String,
        source: &str,
    ) -> Result<SignedIn, SignInError> {
        let place = self.hasher.enter()?;
        self.try_again("user.setup", "setup", source).await?;
        secrets::check_password(&password)?;
        let hashed = place.hash(password).await.map_err(internal)?;
        let user = NewUser {
            name: name.clone(),
            role: Role::Admin,
            password: Some(hashed),
        };
        let actor = Actor::new(name.to_string(), source);
        let secret = secrets::secret_hash(secret.trim());
        let added = self.store.setup_claim(&secret, user, &actor).await;
        if let Err(AccessError::SetupOver) = added {
            self.note_failure(
                "user.setup",
                "setup",
                source,
                Some("the secret is not valid"),
            )
            .await;
        }
        let added = added?;
        self.store.sign_in_done("setup", source).await?;
        self.open(added, source).await
    }

    async fn by_token(&self, text: &str, source: String) -> Result<Option<Caller>, StoreError> {
        let Some(hash) = secrets::token_hash(text) else {
            return Ok(None);
        };
        let token = self.store.token_find(&hash).await?;
        Ok(token.map(|token| Caller {
            name: token.name.to_string(),
            role: token.role,
            source,
            kind: CallerKind::Token(token.id),
        }))
    }

    async fn by_session(&self, secret: &str, source: String) -> Result<Option<Caller>, StoreError> {
        let found = self
            .store
            .session_find(&secrets::secret_hash(secret), self.times)
            .await?;
        Ok(found.map(|session| Caller {
            name: session.user.to_string(),
            role: session.role,
            source,
            kind: CallerKind::Session(session.id),
        }))
    }
}

pub(super) async fn password_fits(
    place: secrets::Place,
    password: String,
    hash: Option<PasswordHash>,
) -> Result<bool, SignInError> {
    if password.len() > secrets::PASSWORD_MOST {
        return Ok(false);
    }
    place.verify(password, hash).await.map_err(internal)
}

pub(super) fn internal(error: impl std::fmt::Display) -> SignInError {
    SignInError::Internal {
        cause: error.to_string(),
    }
}

#[async_trait]
impl Identify for StoreIdentity {
    async fn identify(&self, parts: &Parts) -> Result<Option<Caller>, IdentifyError> {
        let source = Caller::source_of(parts);
        // A header that was sent is meant: a bad token is no reason to look at the cookie.
        let found = if parts.headers.contains_key(AUTHORIZATION) {
            match bearer(&parts.headers) {
                Some(token) => self.by_token(token, source).await,
                None => Ok(None),
            }
        } else {
            match self.cookie.read(&parts.headers) {
                Some(secret) => self.by_session(&secret, source).await,
                None => Ok(None),
            }
        };
        found.map_err(|error| IdentifyError {
            cause: error.into(),
        })
    }
}

/// The token of `Authorization: Bearer TOKEN`, when that is the one such header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let name: HeaderName = AUTHORIZATION;
    let mut all = headers.get_all(name).iter();
    let only = all.next().filter(|_| all.next().is_none())?.to_str().ok()?;
    let (scheme, token) = only.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

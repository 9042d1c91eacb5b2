//! What each error of the crates below means to a caller. Nothing of the database or of this machine goes out: that is
//! logged, and the caller gets the id of the request to ask about it.

use std::error::Error;

use axum::http::StatusCode;
use fleet_store::{AccessError, HostError, StoreError, TriggerError, VerbError};
use fleet_types::{Invalid, printable};
use rollout_orchestrator::{AgainError, EndpointError, FindError, PlanError, TriggerRefusal};

use crate::identity::IdentifyError;
use crate::problem::Problem;
use crate::secrets::{HashError, QueueFull, RandomError, WeakPassword};
use crate::sign_in::SignInError;

/// Logs an error with its causes; the span of the request names its id.
pub(crate) fn log_cause(what: &str, error: &(dyn Error + 'static)) {
    let mut causes = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        next = cause.source();
    }
    tracing::error!(error = %printable(&causes), "{what}");
}

pub(crate) fn internal(error: &(dyn Error + 'static)) -> Problem {
    log_cause("a request failed", error);
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "something went wrong here; the log knows what",
    )
}

fn conflict(code: &'static str, error: &impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, printable(&error.to_string()))
}

fn unprocessable(code: &'static str, error: &impl std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        code,
        printable(&error.to_string()),
    )
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Full { .. }
            | StoreError::ReadOnly { .. } => {
                log_cause("the store cannot be used", &error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    error.in_brief(),
                )
                .after(2)
            }
            _ => internal(&error),
        }
    }
}

impl From<Invalid> for Problem {
    fn from(error: Invalid) -> Self {
        let field = error.what.replace([' ', '-'], "_");
        Self::field("invalid", &field, printable(&error.to_string()))
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        match &error {
            HostError::Unknown { .. } => Self::not_found(printable(&error.to_string())),
            HostError::DuplicateName { name } => {
                conflict("duplicate_name", &error).with("name", printable(name))
            }
            HostError::DuplicateRepository { other, .. } => {
                conflict("duplicate_repository", &error).with("other", printable(other))
            }
            HostError::Updating { rollout, .. } => {
                conflict("host_updating", &error).with("rollout", rollout.to_string())
            }
            HostError::Restarting { .. } => conflict("host_restarting", &error),
            HostError::Stale { .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "stale",
                printable(&error.to_string()),
            ),
            HostError::Invalid(invalid) => invalid.clone().into(),
            HostError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

impl From<TriggerError> for Problem {
    fn from(error: TriggerError) -> Self {
        match &error {
            TriggerError::KeyReused => {
                Self::field("idempotency_mismatch", "Idempotency-Key", error.to_string())
            }
            TriggerError::Repeated { rollout } => {
                conflict("repeated", &error).with("rollout", rollout.to_string())
            }
            TriggerError::Active {
                id,
                started_by,
                created_at,
                attended,
                paused,
            } => conflict("rollout_active", &error)
                .with("active", id.to_string())
                .with("started_by", printable(started_by))
                .with("created_at", created_at.to_string())
                .with("attended", *attended)
                .with("paused", *paused),
            TriggerError::NoHosts => unprocessable("no_hosts", &error),
            TriggerError::HostGone => conflict("host_gone", &error),
            TriggerError::KnownBad { version, rollout } => unprocessable("known_bad", &error)
                .with("version", version.clone())
                .with("rollout", rollout.to_string()),
            TriggerError::Invalid(invalid) => invalid.clone().into(),
            TriggerError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

impl From<TriggerRefusal> for Problem {
    fn from(error: TriggerRefusal) -> Self {
        match error {
            TriggerRefusal::Refused(refused) => refused.into(),
            TriggerRefusal::Endpoint(endpoint) => endpoint.into(),
            TriggerRefusal::Identity { ref host, .. } => {
                // Why may name a file of this machine.
                log_cause("a credential cannot be loaded", &error);
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "no_credential",
                    format!("the key for {host} cannot be used by this server; its log says why"),
                )
                .with("host", host.to_string())
            }
            other => internal(&other),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match &error {
            EndpointError::Jump { .. } => {
                Self::field("bad_jump", "jump", printable(&error.to_string()))
            }
            _ => unprocessable("no_endpoint", &error),
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        match &error {
            PlanError::EmptyFleet => unprocessable("no_hosts", &error),
            PlanError::UnknownWords { .. } | PlanError::NothingSelected => {
                Self::field("no_hosts", "on", printable(&error.to_string()))
            }
            PlanError::DifferentBranches { .. } => unprocessable("different_branches", &error),
            PlanError::Endpoint(endpoint) => endpoint.clone().into(),
            PlanError::Invalid(invalid) => invalid.clone().into(),
            PlanError::UnknownRollout { .. } => Self::not_found(error.to_string()),
            PlanError::NotOver { .. } => conflict("not_over", &error),
            PlanError::NothingLeft { .. } => conflict("nothing_left", &error),
            PlanError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        match &error {
            FindError::Unknown { .. } => Self::not_found(error.to_string()),
            FindError::Several { .. } => {
                Self::new(StatusCode::NOT_FOUND, "ambiguous", error.to_string())
            }
            FindError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

impl From<AgainError> for Problem {
    fn from(error: AgainError) -> Self {
        match error {
            AgainError::Plan(plan) => plan.into(),
            AgainError::Trigger(refusal) => refusal.into(),
            other => internal(&other),
        }
    }
}

impl From<VerbError> for Problem {
    fn from(error: VerbError) -> Self {
        match &error {
            VerbError::Unknown { .. } => Self::not_found(error.to_string()),
            VerbError::WrongState { state, .. } => {
                conflict("wrong_state", &error).with("state", state.as_str())
            }
            VerbError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match &error {
            AccessError::Unknown { .. } => Self::not_found(printable(&error.to_string())),
            AccessError::Duplicate { .. } => conflict("duplicate_name", &error),
            AccessError::LastAdmin { .. } => conflict("last_admin", &error),
            AccessError::SetupOver => {
                Self::new(StatusCode::FORBIDDEN, "setup_over", error.to_string())
            }
            AccessError::TooManyTries { wait } => too_many(wait.as_secs(), &error),
            AccessError::Store(store) => store.clone().into(),
            _ => internal(&error),
        }
    }
}

/// Too much of something that is bounded.
pub(crate) fn too_many(seconds: u64, error: &impl std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        error.to_string(),
    )
    .after(seconds.max(1))
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match &error {
            SignInError::Wrong => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                error.to_string(),
            ),
            SignInError::TooManyTries { wait } => too_many(wait.as_secs(), &error),
            SignInError::Weak(weak) => (*weak).into(),
            SignInError::WrongOld => {
                Self::field("wrong_password", "old_password", error.to_string())
            }
            SignInError::SameAgain => Self::field("weak_password", "password", error.to_string()),
            SignInError::NoPassword => conflict("no_password", &error),
            SignInError::SetupOver => {
                Self::new(StatusCode::FORBIDDEN, "setup_over", error.to_string())
            }
            SignInError::Store(store) => store.clone().into(),
            SignInError::Busy(full) => (*full).into(),
            SignInError::Internal { .. } => internal(&error),
        }
    }
}

impl From<WeakPassword> for Problem {
    fn from(error: WeakPassword) -> Self {
        Self::field("weak_password", "password", error.to_string())
    }
}

impl From<QueueFull> for Problem {
    fn from(error: QueueFull) -> Self {
        too_many(2, &error)
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        internal(&error)
    }
}

impl From<RandomError> for Problem {
    fn from(error: RandomError) -> Self {
        internal(&error)
    }
}

impl From<IdentifyError> for Problem {
    fn from(error: IdentifyError) -> Self {
        log_cause("it cannot be told who is asking", &error);
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "identity_unavailable",
            "it cannot be told at the moment who is asking",
        )
        .after(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "SELECT secret FROM users; /var/lib/rollout/rollout.db";

    #[test]
    fn nothing_of_the_database_or_this_machine_goes_out() {
        let cause = || SECRET.to_owned();
        let errors = [
            StoreError::Url { url: cause() },
            StoreError::Open {
                database: cause(),
                cause: cause(),
            },
            StoreError::NotOurs {
                database: cause(),
                cause: cause(),
            },
            StoreError::TooNew {
                database: cause(),
                found: fleet_store::Schema(9),
                since: fleet_store::Schema(9),
                known: fleet_store::Schema(8),
            },
            StoreError::ReadOnly {
                database: cause(),
                cause: cause(),
            },
            StoreError::Full {
                database: cause(),
                cause: cause(),
            },
            StoreError::Unavailable { cause: cause() },
            StoreError::Corrupt {
                table: "users",
                cause: cause(),
            },
            StoreError::Database { cause: cause() },
        ];
        for error in errors {
            let whole = [
                Problem::from(error.clone()),
                HostError::from(error.clone()).into(),
                TriggerError::from(error.clone()).into(),
                VerbError::from(error.clone()).into(),
                AccessError::from(error.clone()).into(),
                PlanError::from(error.clone()).into(),
                SignInError::from(error.clone()).into(),
                IdentifyError {
                    cause: error.clone().into(),
                }
                .into(),
            ];
            for problem in whole {
                let shown = format!("{problem:?}");
                assert!(problem.status.is_server_error(), "{error}: {shown}");
                assert!(
                    !shown.contains("SELECT") && !shown.contains("/var"),
                    "{shown}"
                );
            }
        }
        let name = "web-1".parse::<fleet_types::HostName>();
        let source = ssh_exec::IdentityError::Unreadable {
            path: SECRET.to_owned(),
            cause: cause(),
        };
        if let Ok(host) = name {
            let problem = Problem::from(TriggerRefusal::Identity { host, source });
            let shown = format!("{problem:?}");
            assert!(problem.status == 422 && !shown.contains("/var"), "{shown}");
        }
    }
}

//! Whose time it is while a connection is opened.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::address::place;
use crate::transport::{ConnectError, Endpoint, IdentityError};

/// An agent that works lists its keys at once, be it forwarded over a slow line.
const LISTING: Duration = Duration::from_secs(10);

/// What is being done, for the message and the blame when time runs out.
///
/// An agent has a limit of its own, well below the one for everything. When everything runs out while it is asked, the host has
/// taken the rest, and may have meant to: it is the one that is blamed.
#[derive(Debug)]
pub(super) struct Phase {
    /// For everything together.
    limit: Duration,
    now: Mutex<Doing>,
}

#[derive(Debug)]
enum Doing {
    /// The host answers for this.
    Host {
        host: String,
        address: String,
        what: &'static str,
    },
    KeyFile(PathBuf),
    KnownHosts {
        host: String,
        path: PathBuf,
    },
}

/// What an agent is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// For its keys.
    Keys,
    /// To sign. It may ask a person before it does.
    Signature,
}

impl Question {
    /// Less than what there is for everything, so that an agent that hangs shows as one.
    fn limit(self, everything: Duration) -> Duration {
        match self {
            Self::Keys => LISTING.min(everything / 2),
            Self::Signature => everything / 2,
        }
    }

    fn unanswered(self, socket: &Path, limit: Duration) -> IdentityError {
        let cause = match self {
            Self::Keys => format!(
                "it did not list its keys within {limit:?}; restart it, or name a key file instead"
            ),
            Self::Signature => format!(
                "it did not sign within {limit:?}; see whether it waits for a confirmation or a touch, or restart it"
            ),
        };
        IdentityError::Agent {
            socket: socket.display().to_string(),
            cause,
        }
    }
}

impl Phase {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            limit: endpoint.connect_timeout,
            now: Mutex::new(Doing::host(endpoint, "TCP")),
        }
    }

    /// From here on the host is waited for.
    pub(super) fn host(&self, endpoint: &Endpoint, what: &'static str) {
        *self.now() = Doing::host(endpoint, what);
    }

    /// From here on our own key is read.
    pub(super) fn key_file(&self, path: &Path) {
        *self.now() = Doing::KeyFile(path.to_owned());
    }

    /// From here on our own file of known host keys is read.
    pub(super) fn known_hosts(&self, endpoint: &Endpoint, path: &Path) {
        *self.now() = Doing::KnownHosts {
            host: endpoint.name.clone(),
            path: path.to_owned(),
        };
    }

    /// Gives the agent its time to answer.
    pub(super) async fn asking<T>(
        &self,
        socket: &Path,
        question: Question,
        asking: impl Future<Output = T>,
    ) -> Result<T, IdentityError> {
        let limit = question.limit(self.limit);
        let answer = timeout(limit, asking).await;
        answer.map_err(|_| question.unanswered(socket, limit))
    }

    /// Does the work within the limit for everything.
    pub(super) async fn within<T, E: From<ConnectError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = timeout(self.limit, work).await;
        done.unwrap_or_else(|_| Err(self.timed_out().into()))
    }

    fn timed_out(&self) -> ConnectError {
        let limit = self.limit;
        match &*self.now() {
            Doing::Host {
                host,
                address,
                what,
            } => ConnectError::Unreachable {
                host: host.clone(),
                address: address.clone(),
                cause: format!("no answer within {limit:?} ({what})"),
            },
            Doing::KeyFile(path) => unread_key(path, limit).into(),
            Doing::KnownHosts { host, path } => ConnectError::KnownHostsUnreadable {
                host: host.clone(),
                path: path.display().to_string(),
                cause: unread(limit),
            },
        }
    }

    fn now(&self) -> MutexGuard<'_, Doing> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doing {
    fn host(endpoint: &Endpoint, what: &'static str) -> Self {
        Self::Host {
            host: endpoint.name.clone(),
            address: place(endpoint),
            what,
        }
    }
}

/// The key file was not read in time.
pub(super) fn unread_key(path: &Path, limit: Duration) -> IdentityError {
    IdentityError::Unreadable {
        path: path.display().to_string(),
        cause: unread(limit),
    }
}

fn unread(limit: Duration) -> String {
    format!("it was not read within {limit:?}; see whether the disk or mount that holds it answers")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::transport::{HostKeys, Identity};

    const SOCKET: &str = "/run/agent";

    fn endpoint() -> Endpoint {
        Endpoint {
            name: "web-1".to_owned(),
            address: "::1".to_owned(),
            port: 22,
            user: "app".to_owned(),
            identity: Identity::Agent(SOCKET.into()),
            host_keys: HostKeys::default(),
            jump: None,
            connect_timeout: Duration::from_secs(60),
        }
    }

    /// The error, and after how long it comes, when this hangs.
    async fn hangs(hanging: impl AsyncFnOnce(&Phase) -> Result<(), ConnectError>) -> (String, u64) {
        let phase = Phase::new(&endpoint());
        let begun = tokio::time::Instant::now();
        let done: Result<(), ConnectError> = phase.within(hanging(&phase)).await;
        let error = done.expect_err("it hangs");
        (format!("{error:?}"), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_waited_for_when_time_runs_out_is_blamed() {
        let ask = async |phase: &Phase, question| {
            let asked = phase.asking(SOCKET.as_ref(), question, pending::<()>());
            Ok(asked.await?)
        };
        let cases = [
            (
                hangs(async |_| pending().await).await,
                "Unreachable",
                "(TCP)",
                60,
            ),
            (
                hangs(async |phase| {
                    phase.key_file("/key".as_ref());
                    pending().await
                })
                .await,
                "Identity(Unreadable",
                "/key",
                60,
            ),
            (
                hangs(async |phase| {
                    phase.known_hosts(&endpoint(), "/known".as_ref());
                    pending().await
                })
                .await,
                "KnownHostsUnreadable",
                "/known",
                60,
            ),
            (
                hangs(async |phase| ask(phase, Question::Keys).await).await,
                "Identity(Agent",
                "list its keys within 10s",
                10,
            ),
            (
                hangs(async |phase| ask(phase, Question::Signature).await).await,
                "Identity(Agent",
                "sign within 30s",
                30,
            ),
            (
                hangs(async |phase| {
                    phase.host(&endpoint(), "sign-in");
                    tokio::time::sleep(Duration::from_secs(55)).await;
                    ask(phase, Question::Keys).await
                })
                .await,
                "Unreachable",
                "(sign-in)",
                60,
            ),
            (
                hangs(async |phase| {
                    phase.host(&endpoint(), "sign-in");
                    let asked = phase.asking(SOCKET.as_ref(), Question::Keys, async {});
                    asked.await?;
                    pending().await
                })
                .await,
                "Unreachable",
                "(sign-in)",
                60,
            ),
        ];
        for ((error, seconds), kind, words, expected) in cases {
            assert!(error.starts_with(kind) && error.contains(words), "{error}");
            assert_eq!(seconds, expected, "{error}");
        }
    }
}

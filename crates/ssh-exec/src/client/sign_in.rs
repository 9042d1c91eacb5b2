//! Offering a credential.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{SendError, Signer};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::dial::Hop;
use super::handler::{Ended, describe};
use super::identity::Agent;
use super::phase::{Phase, Question};
use crate::transport::{ConnectError, Endpoint, IdentityError};

/// An agent with more keys is asked for these alone: servers cut the connection after a few.
const AGENT_KEYS: usize = 16;
/// How long a connection that failed is given to say why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is offered.
pub(crate) enum Credential<'a> {
    Key(Arc<PrivateKey>),
    /// The keys of the agent at this socket.
    Agent(&'a Path),
}

/// Offers the credential.
pub(crate) async fn sign_in(
    hop: &mut Hop,
    endpoint: &Endpoint,
    credential: Credential<'_>,
    phase: &Phase,
) -> Result<(), ConnectError> {
    let result = match credential {
        Credential::Key(key) => with_key(hop, &endpoint.user, key).await,
        Credential::Agent(socket) => with_agent(hop, &endpoint.user, socket, phase).await?,
    };
    let cause = match result {
        Ok(AuthResult::Success) => return Ok(()),
        Ok(AuthResult::Failure {
            remaining_methods,
            partial_success,
        }) if !remaining_methods.is_empty() => {
            let methods: Vec<&str> = remaining_methods.iter().map(Into::into).collect();
            let methods = methods.join(", ");
            match partial_success {
                true => format!("the key is not enough, it also wants: {methods}"),
                false => format!("it accepts: {methods}"),
            }
        }
        other => {
            // The connection is ending. Whether the server said so or it broke decides whose fault it is.
            let _ = timeout(LAST_WORDS, &mut hop.handle).await;
            match (hop.notes.with(|learnt| learnt.ended.clone()), other) {
                (Some(Ended::Goodbye(words)), _) => words,
                (Some(Ended::Broken(cause)), _) => return Err(lost_in_sign_in(endpoint, &cause)),
                (None, Err(error)) => return Err(lost_in_sign_in(endpoint, &describe(&error))),
                (None, Ok(_)) => "it accepts no key".to_owned(),
            }
        }
    };
    Err(ConnectError::AuthRefused {
        host: endpoint.name.clone(),
        user: endpoint.user.clone(),
        cause,
    })
}

fn lost_in_sign_in(endpoint: &Endpoint, cause: &str) -> ConnectError {
    ConnectError::Protocol {
        host: endpoint.name.clone(),
        cause: format!("{cause} (during sign-in)"),
    }
}

/// The hashes to sign with, most preferred first: for RSA what the server names, then the other; never SHA-1. Servers
/// name what they know, not what they accept.
async fn hashes(hop: &Hop, algorithm: &Algorithm) -> Result<Vec<Option<HashAlg>>, russh::Error> {
    let Algorithm::Rsa { .. } = algorithm else {
        return Ok(vec![None]);
    };
    Ok(
        match hop.handle.best_supported_rsa_hash().await?.flatten() {
            Some(HashAlg::Sha256) => vec![Some(HashAlg::Sha256), Some(HashAlg::Sha512)],
            _ => vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
        },
    )
}

/// Does the answer to one attempt leave room for another?
fn may_go_on(result: &AuthResult) -> bool {
    matches!(result, AuthResult::Failure { remaining_methods, partial_success: false } if !remaining_methods.is_empty())
}

async fn with_key(
    hop: &mut Hop,
    user: &str,
    key: Arc<PrivateKey>,
) -> Result<AuthResult, russh::Error> {
    let mut last = Err(russh::Error::NotAuthenticated);
    for hash in hashes(hop, &key.algorithm()).await? {
        let result = hop
            .handle
            .authenticate_publickey(user, PrivateKeyWithHashAlg::new(Arc::clone(&key), hash))
            .await?;
        if !may_go_on(&result) {
            return Ok(result);
        }
        last = Ok(result);
    }
    last
}

/// An agent that signs, within its time.
struct PatientSigner<'a> {
    client: AgentClient<UnixStream>,
    socket: &'a Path,
    phase: &'a Phase,
}

/// Why a key of the agent got no answer of the server.
enum Unsigned {
    /// The connection to the host ended.
    HostLost,
    /// Not with this key (not confirmed, or restricted to other hosts); the next may do.
    Key(IdentityError),
    /// The agent hangs or is gone; it cannot be asked again.
    Agent(IdentityError),
}

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Self::HostLost
    }
}

impl PatientSigner<'_> {
    fn failed(&self, cause: String) -> IdentityError {
        IdentityError::Agent {
            socket: self.socket.display().to_string(),
            cause,
        }
    }
}

impl Signer for PatientSigner<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let signing = self.client.sign_request(key, hash, to_sign);
        let signed = self.phase.asking(self.socket, Question::Signature, signing);
        match signed.await.map_err(Unsigned::Agent)? {
            Ok(signed) => Ok(signed),
            Err(russh::keys::Error::IO(error)) => Err(Unsigned::Agent(self.failed(format!(
                "it broke off when it was asked to sign: {error}; see whether it still runs"
            )))),
            Err(russh::keys::Error::AgentFailure) => Err(Unsigned::Key(self.failed(
                "it refuses to sign; see whether it is locked, was not given the confirmation that it asks for, \
                 or keeps its keys to other hosts"
                    .to_owned(),
            ))),
            Err(error) => Err(Unsigned::Key(
                self.failed(format!("what it signs is of no use: {error}")),
            )),
        }
    }
}

/// Tries the agent's keys in its order, until one is accepted or the server has enough. The inner result is the host's,
/// the outer one our agent's: it fails also when no key got as far as an answer of the server.
async fn with_agent(
    hop: &mut Hop,
    user: &str,
    socket: &Path,
    phase: &Phase,
) -> Result<Result<AuthResult, russh::Error>, IdentityError> {
    let opening = Agent::open(socket, hop.handle.agent_session_binding());
    let Agent { client, identities } = phase.asking(socket, Question::Keys, opening).await??;
    let mut signer = PatientSigner {
        client,
        socket,
        phase,
    };
    let mut last = Err(russh::Error::NotAuthenticated);
    let mut unsigned = None;
    for identity in identities.into_iter().take(AGENT_KEYS) {
        let algorithm = match &identity {
            AgentIdentity::PublicKey { key, .. } => key.algorithm(),
            AgentIdentity::Certificate { certificate, .. } => certificate.algorithm(),
        };
        let hashes = match hashes(hop, &algorithm).await {
            Ok(hashes) => hashes,
            Err(error) => return Ok(Err(error)),
        };
        for hash in hashes {
            let attempt = match identity.clone() {
                AgentIdentity::PublicKey { key, .. } => {
                    hop.handle
                        .authenticate_publickey_with(user, key, hash, &mut signer)
                        .await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    hop.handle
                        .authenticate_certificate_with(user, certificate, hash, &mut signer)
                        .await
                }
            };
            match attempt {
                Ok(result) if may_go_on(&result) => last = Ok(result),
                Ok(result) => return Ok(Ok(result)),
                Err(Unsigned::HostLost) => return Ok(Err(russh::Error::Disconnect)),
                Err(Unsigned::Key(error)) => unsigned = Some(error),
                Err(Unsigned::Agent(error)) => return Err(error),
            }
        }
    }
    match unsigned {
        // The host refused no key: each time it asked for a signature and got none.
        Some(error) if last.is_err() => Err(error),
        _ => Ok(last),
    }
}

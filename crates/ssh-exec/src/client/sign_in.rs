//! Offering a credential.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use tokio::time::timeout;

use super::dial::Hop;
use super::handler::{Ended, describe};
use super::identity::Agent;
use crate::transport::{ConnectError, Endpoint};

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
) -> Result<(), ConnectError> {
    let result = match credential {
        Credential::Key(key) => with_key(hop, &endpoint.user, key).await,
        Credential::Agent(socket) => {
            let agent = Agent::open(socket, hop.handle.agent_session_binding()).await?;
            with_agent(hop, &endpoint.user, agent).await
        }
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

/// Tries the agent's keys in its order, until one is accepted or the server has enough.
async fn with_agent(
    hop: &mut Hop,
    user: &str,
    mut agent: Agent,
) -> Result<AuthResult, russh::Error> {
    let mut last = Err(russh::Error::NotAuthenticated);
    for identity in agent.identities.into_iter().take(AGENT_KEYS) {
        let algorithm = match &identity {
            AgentIdentity::PublicKey { key, .. } => key.algorithm(),
            AgentIdentity::Certificate { certificate, .. } => certificate.algorithm(),
        };
        for hash in hashes(hop, &algorithm).await? {
            let attempt = match identity.clone() {
                AgentIdentity::PublicKey { key, .. } => {
                    hop.handle
                        .authenticate_publickey_with(user, key, hash, &mut agent.client)
                        .await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    hop.handle
                        .authenticate_certificate_with(user, certificate, hash, &mut agent.client)
                        .await
                }
            };
            match attempt {
                Ok(result) if may_go_on(&result) => last = Ok(result),
                Ok(result) => return Ok(result),
                // The agent did not sign with this key (not confirmed, or restricted to other hosts); the next may do.
                Err(error) if last.is_err() => {
                    last = Err(russh::Error::IO(io::Error::other(format!(
                        "the agent did not sign: {error}"
                    ))));
                }
                Err(_) => {}
            }
        }
    }
    last
}

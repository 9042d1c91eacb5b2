//! A fleet behind a `rollout-server`, which keeps it and works on its hosts.

mod asked;
mod client;
mod inventory;
mod login;
mod people;
mod problem;
mod rollouts;

use std::sync::Arc;

use client::Client;
use fleet_types::view::Rollout;
use serde::Deserialize;

pub(crate) use asked::Asked;
pub(crate) use login::{Login, TokenSource};

use super::{Fleet, Rollouts as _};
use crate::commands::Planned;
use crate::failure::{Failure, active};
use crate::output::Output;

/// A fleet behind a server. A cheap handle on it.
#[derive(Clone, Debug)]
pub(crate) struct ServerFleet {
    /// Where to write.
    pub out: Output,
    client: Client,
}

/// Who the server takes this program for.
#[derive(Debug, Deserialize)]
pub(crate) struct Me {
    /// The name of the token.
    pub name: String,
    /// What it may do.
    pub role: String,
}

impl ServerFleet {
    /// Sends nothing yet.
    pub(crate) fn new(login: Login, out: Output) -> Result<Self, Failure> {
        Ok(Self {
            out,
            client: Client::new(login)?,
        })
    }

    /// As any fleet.
    pub(crate) fn fleet(&self) -> Arc<dyn Fleet> {
        Arc::new(self.clone())
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        self.client.address()
    }

    /// Who the server takes this program for.
    pub(crate) async fn me(&self) -> Result<Me, Failure> {
        self.client.get(&["api", "me"], &[]).await
    }

    /// Whether the server can do work now.
    pub(crate) async fn is_ready(&self) -> Result<(), Failure> {
        self.client.ready().await
    }

    /// What would be done. Changes nothing.
    pub(crate) async fn plan(&self, asked: &Asked) -> Result<Planned, Failure> {
        self.client.post(&asked.path(), &asked.dry_run()).await
    }

    /// Starts what was asked for. Sent again when the answer is lost; the server carries it out once.
    pub(crate) async fn start(&self, asked: &Asked) -> Result<Rollout, Failure> {
        #[derive(Deserialize)]
        struct Started {
            rollout: Rollout,
        }
        let started: Started = self
            .client
            .post_once(&asked.path(), &asked.body(), asked.key())
            .await?;
        Ok(started.rollout)
    }

    /// Refuses when a rollout is active. What is decided for good is decided when one is started.
    pub(crate) async fn refuse_when_active(&self) -> Result<(), Failure> {
        match self.status().await?.rollout {
            Some(rollout) if rollout.state.is_active() => {
                let paused = rollout.state == fleet_types::RolloutState::Paused;
                Err(active(
                    rollout.id,
                    &rollout.started_by,
                    rollout.created_at,
                    rollout.attended,
                    paused,
                ))
            }
            _ => Ok(()),
        }
    }
}

//! Where an attempt's events go, durably, before anything is done.

use async_trait::async_trait;
use fleet_types::{Epoch, HostEvent};

/// Keeps what happens in an attempt.
#[async_trait]
pub trait Journal: Send {
    /// Returns once the event is durable; the engine acts only after that. Before a mutating step it also vouches that
    /// the host is still this worker's and that its lease was renewed lately enough.
    async fn record(&mut self, event: &HostEvent) -> Result<(), Stopped>;

    /// Raises this worker's epoch above one found on the host, if the host is still its own, and returns the new one.
    async fn raise(&mut self, above: Epoch) -> Result<Epoch, Stopped>;
}

/// The attempt must stop here and send nothing more: it is somebody else's now, or its events cannot be kept. The host
/// stays as it is, for the next worker to settle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attempt was given up: {0}")]
pub struct Stopped(pub String);

//! Ctrl-C and SIGTERM: heard by whoever listens, and the end of the program when nobody does.

use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    Interrupt,
    Terminate,
    /// A second one of either kind.
    Again,
}

/// Listens for Ctrl-C and SIGTERM.
pub(crate) struct Signals {
    heard: broadcast::Receiver<Caught>,
    /// Whether one came already.
    pub came_before: bool,
}

impl Signals {
    pub(crate) fn new(out: Output) -> Result<Self, Failure> {
        Ok(Self {
            heard: subscribe(out)?,
            came_before: false,
        })
    }

    pub(crate) async fn next(&mut self) -> Caught {
        let caught = match self.heard.recv().await {
            Ok(caught) => caught,
            // More came than anybody needs.
            Err(RecvError::Lagged(_)) => Caught::Again,
            // Nobody hears any more, so nothing will come.
            Err(RecvError::Closed) => std::future::pending().await,
        };
        if std::mem::replace(&mut self.came_before, true) {
            Caught::Again
        } else {
            caught
        }
    }
}

/// Where signals are told, once anybody wanted to hear of them.
static TOLD: Mutex<Option<broadcast::Sender<Caught>>> = Mutex::new(None);

fn subscribe(out: Output) -> Result<broadcast::Receiver<Caught>, Failure> {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(told) = &*told {
        return Ok(told.subscribe());
    }
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Failure::unexpected("signals cannot be listened to").why(error))
    };
    let interrupt = listen(SignalKind::interrupt())?;
    let terminate = listen(SignalKind::terminate())?;
    let (tell, heard) = broadcast::channel(4);
    tokio::spawn(pass_on(out, tell.clone(), interrupt, terminate));
    *told = Some(tell);
    Ok(heard)
}

/// Once a program has listened to signals they do not end it by themselves any more. So that a call that never comes back
/// cannot keep it for ever, one that comes when nobody listens ends it here.
async fn pass_on(
    out: Output,
    tell: broadcast::Sender<Caught>,
    mut interrupt: Signal,
    mut terminate: Signal,
) {
    loop {
        let caught = tokio::select! {
            _ = interrupt.recv() => Caught::Interrupt,
            _ = terminate.recv() => Caught::Terminate,
        };
        if tell.send(caught).is_err() {
            out.shout("interrupted; rollout-cli status shows how the fleet stands");
            std::process::exit(Exit::Interrupted.code().into());
        }
    }
}

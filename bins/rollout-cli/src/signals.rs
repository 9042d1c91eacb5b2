//! Ctrl-C and SIGTERM: heard by whoever listens, and the end of the program when nobody does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::sleep;

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

    /// Takes note of those that came already, which say nothing new.
    pub(crate) fn forget(&mut self) {
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = self.heard.try_recv() {
            self.came_before = true;
        }
    }
}

/// How the program ends whatever comes; none while a signal ends it as interrupted.
static OWN_END: Mutex<Option<Exit>> = Mutex::new(None);

/// How long a program whose work is done may take to tell of it once a signal came.
const TELLING: Duration = Duration::from_secs(2);

/// The work is done, up to the end of the program: a signal that comes from now on ends it neither as interrupted nor in the
/// middle of a sentence.
#[derive(Debug)]
pub(crate) struct Over(());

impl Over {
    /// The program will end like this.
    pub(crate) fn with(exit: Exit) -> Self {
        *own_end() = Some(exit);
        Self(())
    }

    /// There is more to do, and how the program ends is not known yet.
    pub(crate) fn not_yet(self) {
        *own_end() = None;
    }
}

fn own_end() -> MutexGuard<'static, Option<Exit>> {
    OWN_END.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More than anybody needs.
const KEPT: usize = 4;

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
    let (tell, heard) = broadcast::channel(KEPT);
    tokio::spawn(pass_on(out, tell.clone(), interrupt, terminate));
    *told = Some(tell);
    Ok(heard)
}

/// Once a program has listened to signals they do not end it by themselves any more. So that a call that never comes back
/// cannot keep it for ever, one that comes when nobody listens ends it here; where only telling of it is left, after some time
/// or with the next one.
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
        if tell.send(caught).is_ok() {
            continue;
        }
        let own = *own_end();
        if own.is_some() {
            tokio::select! {
                () = sleep(TELLING) => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // It may have gone on meanwhile, to another rollout.
            if tell.send(caught).is_ok() {
                continue;
            }
        }
        let (said, exit) = match own {
            Some(exit) => ("the rollout is over", exit),
            None => ("interrupted", Exit::Interrupted),
        };
        out.shout(format!(
            "{said}; rollout-cli status shows how the fleet stands"
        ));
        std::process::exit(exit.code().into());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Somebody who hears what is told here.
    pub(crate) fn heard() -> (broadcast::Sender<Caught>, Signals) {
        let (tell, heard) = broadcast::channel(KEPT);
        let came_before = false;
        (tell, Signals { heard, came_before })
    }
}

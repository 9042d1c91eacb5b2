//! Questions that Ctrl-C answers too.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::failure::Failure;
use crate::output::Output;

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes.
    Yes,
    /// Anything else, or nothing.
    No,
    /// A signal came first.
    Interrupted,
}

/// Asks, and heeds signals meanwhile. Once work has listened to signals they end no process by themselves any more.
pub(crate) async fn ask(out: Output, question: String) -> Result<Answer, Failure> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Failure::unexpected("signals cannot be listened to").why(error))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let asking = spawn_blocking(move || out.ask(&question));
    Ok(tokio::select! {
        yes = asking => match yes {
            Ok(true) => Answer::Yes,
            Ok(false) | Err(_) => Answer::No,
        },
        _ = interrupt.recv() => Answer::Interrupted,
        _ = terminate.recv() => Answer::Interrupted,
    })
}

//! The threads of one store.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// The threads of one store, and a way to wait for their end that has a limit.
pub(super) struct Crew {
    threads: Vec<JoinHandle<()>>,
    /// Each thread holds a copy of it for as long as it runs; nothing is ever sent.
    running: Option<mpsc::Sender<()>>,
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Crew {
    pub(super) fn new() -> Self {
        let (running, ended) = mpsc::channel();
        Self {
            threads: Vec::new(),
            running: Some(running),
            ended: Mutex::new(ended),
        }
    }

    pub(super) fn start(
        &mut self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let running = self.running.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                run();
                drop(running);
            })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until all have ended. Past the limit they are left to themselves: they end when they get their answer, or with
    /// the process.
    pub(super) fn part(&mut self, limit: Option<Duration>) {
        self.running = None;
        if let Some(limit) = limit {
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

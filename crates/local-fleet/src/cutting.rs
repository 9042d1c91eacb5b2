//! Connections that are reset around one command.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::sleep;

use crate::fault::{CutAt, Turn};
use crate::wire::{Line, lock};

/// How often the log is looked at while a cut waits for a line of it.
const LOG_INTERVAL: Duration = Duration::from_millis(1);

/// The cuts set on a host.
#[derive(Debug, Default)]
pub(crate) struct Cuts(Mutex<Vec<Cut>>);

#[derive(Debug)]
struct Cut {
    at: CutAt,
    script: Option<String>,
    turn: Turn,
    seen: u32,
}

/// What the cuts mean for one command.
#[derive(Debug)]
pub(crate) struct CommandCut {
    /// Weak: a command may outlive its connection, and must not keep it open.
    line: Weak<Line>,
    log: PathBuf,
    withheld: AtomicBool,
}

impl Cuts {
    pub(crate) fn add(&self, at: CutAt, script: Option<String>, turn: Turn) {
        lock(&self.0).push(Cut {
            at,
            script,
            turn,
            seen: 0,
        });
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Counts a command that begins; the cuts that are due.
    pub(crate) fn command_begins(&self) -> Vec<CutAt> {
        self.due(|cut| cut.script.is_none())
    }

    /// Whether any cut waits for a text.
    pub(crate) fn read_scripts(&self) -> bool {
        lock(&self.0).iter().any(|cut| cut.script.is_some())
    }

    /// Counts commands by their standard input, of which `input` has come in and up to `known` was looked at before;
    /// the cuts that are due.
    pub(crate) fn script_goes_on(&self, input: &[u8], known: usize) -> Vec<CutAt> {
        self.due(|cut| {
            let Some(text) = cut.script.as_deref().filter(|text| !text.is_empty()) else {
                return false;
            };
            let from = (known + 1).saturating_sub(text.len());
            input[from.min(input.len())..]
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }

    fn due(&self, meant: impl Fn(&Cut) -> bool) -> Vec<CutAt> {
        let mut due = Vec::new();
        for cut in lock(&self.0).iter_mut().filter(|cut| meant(cut)) {
            cut.seen += 1;
            if cut.turn.is_due(cut.seen) {
                due.push(cut.at.clone());
            }
        }
        due
    }
}

/// A script that is handed over as the argument of `printf %b` says here what the shell makes of it: `\0` and three octal
/// digits are a byte, `\n` is a newline. Ends before an escape that has not come in whole.
pub(crate) fn read_escapes(input: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(input.len());
    let mut rest = input;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [] | [b'0'] | [b'0', _] | [b'0', _, _]) => break,
            (
                b'\\',
                [
                    b'0',
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), after),
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            _ => (*first, after),
        };
        text.push(byte);
        rest = after;
    }
    text
}

impl CommandCut {
    pub(crate) fn new(line: &Arc<Line>, log: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            line: Arc::downgrade(line),
            log,
            withheld: AtomicBool::new(false),
        })
    }

    /// Puts a cut into effect. True when it has happened already, so that the command must not go on.
    pub(crate) fn arm(self: &Arc<Self>, at: CutAt) -> bool {
        match at {
            CutAt::Before => {
                self.cut();
                return true;
            }
            CutAt::After => self.withheld.store(true, Ordering::SeqCst),
            CutAt::During(time) => self.cut_once(async move |_| sleep(time).await),
            CutAt::WhenLogged(text) => {
                // What was logged before this command does not count.
                let from = std::fs::metadata(&self.log).map_or(0, |data| data.len());
                self.cut_once(async move |this| {
                    while !this.log_has(&text, from).await {
                        sleep(LOG_INTERVAL).await;
                    }
                });
            }
        }
        false
    }

    /// Whether what the command writes is to be held back.
    pub(crate) fn withholds(&self) -> bool {
        self.withheld.load(Ordering::SeqCst)
    }

    /// The command has ended. True when the connection was reset for it.
    pub(crate) fn command_ended(&self) -> bool {
        if self.withholds() {
            self.cut();
        }
        self.withholds()
    }

    fn cut(&self) {
        if let Some(line) = self.line.upgrade() {
            line.cut();
        }
    }

    fn cut_once<F>(self: &Arc<Self>, wait: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(over) = self.line.upgrade().map(|line| line.over()) else {
            return;
        };
        let (this, waiting) = (Arc::clone(self), wait(Arc::clone(self)));
        tokio::spawn(async move {
            tokio::select! {
                () = waiting => this.cut(),
                () = over.cancelled() => {}
            }
        });
    }

    async fn log_has(&self, text: &str, from: u64) -> bool {
        let Ok(log) = tokio::fs::read(&self.log).await else {
            return false;
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(log.len());
        String::from_utf8_lossy(&log[from..]).contains(text)
    }
}

//! What is tried: which step, which moment of it, which fault, on which database.

use std::fmt;

/// One try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub(super) database: Database,
    pub(super) fault: Fault,
    pub(super) step: &'static str,
    pub(super) moment: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Database {
    /// One process at a time, and the one that comes after it.
    Sqlite,
    /// Two servers at once.
    Postgres,
}

/// What happens to the process that works on the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// `kill -9`; then another one is started.
    Kill,
    /// `SIGSTOP` until its lease has run out and another one has taken a host over; both go on side by side.
    Stop,
    /// `SIGSTOP` until another one has finished everything.
    Sleep,
    /// Its connections to the host are cut.
    Ssh,
    /// It cannot write to the database until long after its lease has run out.
    Database,
}

pub(super) const DATABASES: [Database; 2] = [Database::Sqlite, Database::Postgres];
pub(super) const FAULTS: [Fault; 5] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Sleep,
    Fault::Ssh,
    Fault::Database,
];

const STEPS: [&str; 7] = [
    "connect", "inspect", "pull", "install", "restart", "settle", "verify",
];
const STEPS_BACK: [&str; 5] = [
    "rollback_checkout",
    "rollback_install",
    "rollback_restart",
    "rollback_settle",
    "rollback_verify",
];
const MOMENTS: [&str; 5] = [
    "before-intent",
    "after-intent",
    "after-send",
    "after-reply",
    "after-outcome",
];
/// What else an attempt puts on record: what the host was like, that it turns back, how it ended.
const RECORDS: [&str; 3] = ["previous", "turn", "settled"];

impl Cell {
    /// Every one there is.
    pub(super) fn all() -> Vec<Self> {
        let steps = STEPS.iter().chain(&STEPS_BACK);
        let of_steps = steps.flat_map(|step| MOMENTS.map(|moment| (*step, moment)));
        let of_records = RECORDS
            .iter()
            .flat_map(|record| [(*record, MOMENTS[3]), (*record, MOMENTS[4])]);
        let points: Vec<_> = of_steps.chain(of_records).collect();
        let mut cells = Vec::new();
        for database in DATABASES {
            for fault in FAULTS {
                cells.extend(points.iter().map(|(step, moment)| Self {
                    database,
                    fault,
                    step,
                    moment,
                }));
            }
        }
        cells
    }

    /// Whether the release must be a bad one, for its step to come.
    pub(super) fn goes_back(self) -> bool {
        self.step.starts_with("rollback_") || self.step == "turn"
    }

    /// What the program is told.
    pub(super) fn point(self) -> String {
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop | Fault::Sleep => "stop",
            Fault::Ssh | Fault::Database => "wait",
        };
        format!("{}:{}:{fault}", self.step, self.moment)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Sleep => "sleep",
            Self::Ssh => "ssh",
            Self::Database => "database",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            database,
            fault,
            step,
            moment,
        } = self;
        write!(f, "{database} {fault} {step} {moment}")
    }
}

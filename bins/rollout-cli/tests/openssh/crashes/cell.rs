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

/// Where the rollout leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// All hosts to the target.
    Forward,
    /// All hosts to where they were, one after the other.
    Back,
    /// The first ones to where they were, and no others are touched.
    Halts,
    /// The first ones to the target, and no others are touched.
    Aborts,
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
    /// Its connection to the host is cut; where it has none, the next one that it opens.
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
/// The store's calls outside of attempts, and events by which others of them are known: what happens to a rollout as a
/// whole, to a worker, and to a connection's slot.
const CALLS: [&str; 14] = [
    "store.rollout_create",
    "store.rollout_resolve",
    "store.attempt_claim",
    "store.attempt_claim#2",
    "store.slot_acquire",
    "store.slot_release",
    "store.worker_renew#3",
    "store.worker_leave",
    "store.stage.started#2",
    "store.stage.finished",
    "store.rollout.finished",
    "store.rollout.halting",
    "store.rollout.halted",
    "store.rollout.aborted",
];
/// Nobody was asked yet; all is written and not committed; all is durable and nobody knows.
const MOMENTS_OF_CALLS: [&str; 3] = ["before", "open", "after"];
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
        let of_calls = CALLS
            .iter()
            .flat_map(|call| MOMENTS_OF_CALLS.map(|moment| (*call, moment)));
        let points: Vec<_> = points.into_iter().chain(of_calls).collect();
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
        cells.retain(|cell| cell.is_possible());
        cells
    }

    /// Whether this is about the store and not about a step.
    pub(super) fn is_of_store(self) -> bool {
        self.step.starts_with("store.")
    }

    fn is_possible(self) -> bool {
        if !self.is_of_store() {
            // Once only the outcome is left to be put on record, there is no connection and none will come.
            return self.fault != Fault::Ssh || self.step != "settled";
        }
        // An event is known only once it is written.
        let is_event = self.step.contains("stage.") || self.step.contains("rollout.");
        match (self.fault, self.moment) {
            (_, "before") if is_event => false,
            // A server leaves when it is asked to end, which no rollout does.
            _ if self.step == "store.worker_leave" && self.database == Database::Postgres => false,
            (Fault::Kill, _) => true,
            // There is no rollout for another process to work on.
            (_, "before") if self.step == "store.rollout_create" => false,
            // Whoever is stopped here holds locks, until it runs on or the database ends its transaction.
            (_, "open") => false,
            // There need not be a connection to a host.
            (Fault::Ssh, _) => false,
            _ => true,
        }
    }

    /// Whether the attempt has a connection to its host at this moment. The first one comes after the intent to connect.
    /// While the service settles there is none: it is closed once that intent is on record, and the next one is opened
    /// when the intent to verify is.
    pub(super) fn is_connected(self) -> bool {
        let before_it_is_sent = matches!(self.moment, "before-intent" | "after-intent");
        match self.step {
            "settled" => false,
            "connect" | "verify" | "rollback_verify" => !before_it_is_sent,
            "settle" | "rollback_settle" => before_it_is_sent,
            _ => true,
        }
    }

    pub(super) fn way(self) -> Way {
        match self.step {
            "store.rollout.halting" | "store.rollout.halted" => Way::Halts,
            "store.rollout.aborted" => Way::Aborts,
            "turn" => Way::Back,
            step if step.starts_with("rollback_") => Way::Back,
            _ => Way::Forward,
        }
    }

    /// What the program is told.
    pub(super) fn point(self) -> String {
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop | Fault::Sleep => "stop",
            Fault::Ssh | Fault::Database => "wait",
        };
        let step = match (self.database, self.step) {
            // Two servers renew from their start, long before there is a rollout.
            (Database::Postgres, "store.worker_renew#3") => "store.worker_renew#6",
            (_, step) => step,
        };
        format!("{step}:{}:{fault}", self.moment)
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

#[test]
fn which_connection_is_cut() {
    let cells = Cell::all();
    let ssh = |cell: &&Cell| cell.database == Database::Sqlite && cell.fault == Fault::Ssh;
    let (now, next): (Vec<&Cell>, Vec<&Cell>) = cells
        .iter()
        .filter(ssh)
        .partition(|cell| cell.is_connected());
    let next: Vec<String> = next.iter().map(ToString::to_string).collect();
    let expected = [
        "connect before-intent",
        "connect after-intent",
        "settle after-send",
        "settle after-reply",
        "settle after-outcome",
        "verify before-intent",
        "verify after-intent",
        "rollback_settle after-send",
        "rollback_settle after-reply",
        "rollback_settle after-outcome",
        "rollback_verify before-intent",
        "rollback_verify after-intent",
    ];
    assert_eq!(next, expected.map(|cell| format!("sqlite ssh {cell}")));
    assert_eq!(now.len(), 52);
    let settled = |cell: &Cell| cell.fault == Fault::Ssh && cell.step == "settled";
    assert!(!cells.into_iter().any(|cell| settled(&cell)));
}

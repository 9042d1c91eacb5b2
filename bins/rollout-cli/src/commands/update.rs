//! `update`

use std::collections::HashSet;

use fleet_store::RolloutRecord;
use fleet_types::{HostId, RolloutKind, view};
use rollout_orchestrator::{Orchestrator, Plan, Standing, TriggerRefusal, WorkMode, Worker};

use super::{on_server, plan};
use crate::ask::{Answer, Question, ask};
use crate::cli::{Global, Update};
use crate::display::words::{self, hosts};
use crate::exit::Exit;
use crate::failure::{Failure, active, left_to_newer};
use crate::fleet::{Asked, DatabaseFleet, Place, Rollouts as _, new_worker};
use crate::output::Output;
use crate::run::{Ended, conclude_own, work};

/// How often a place that is taken by an interrupted rollout is tried for again.
const TRIES: usize = 3;

/// Plans, asks, and carries the rollout out.
pub(crate) async fn run(arguments: &Update, global: &Global, out: Output) -> Result<Exit, Failure> {
    if !arguments.yes && !out.can_ask() {
        return Err(
            Failure::usage("an update must be confirmed, and there is nobody to ask")
                .help("say -y; --dry-run shows the plan"),
        );
    }
    let place = Place::open(global, out, arguments.policy.layer()).await?;
    match &place {
        Place::Database(database) => on_database(database, arguments).await,
        Place::Server(server) => {
            let asked = Asked::update(arguments);
            let options = (arguments.yes, arguments.detach);
            let whole = arguments.choice.all;
            on_server::carry_out(server, &asked, options, |plan| question(plan, whole)).await
        }
    }
}

async fn on_database(database: &DatabaseFleet, arguments: &Update) -> Result<Exit, Failure> {
    let orchestrator = database.orchestrator()?;
    let request = plan::request(database, arguments);
    let first = orchestrator.plan(&request).await?;
    let whole = arguments.choice.all;
    if arguments.detach {
        let before = Before::default();
        if !arguments.yes && !confirm(database, &first, &before, whole).await? {
            return Ok(Exit::Refused);
        }
        return detach(database, &orchestrator, &first).await;
    }
    orchestrator.check_identities(&first).await?;
    let mut asked = arguments.yes;
    let mut before = Before::default();
    for _ in 0..TRIES {
        match orchestrator.standing().await? {
            Standing::Free => {}
            Standing::Attended(record) => return Err(conflict(&record, true, false)),
            Standing::Paused(record) => return Err(conflict(&record, false, true)),
            Standing::LeftToNewer(record) => return Err(left_to_newer(Exit::Active, record.id)),
            Standing::Interrupted(record) if is_same_target(&record, &first) => {
                match covers(database, &record, &first).await? {
                    Coverage::All => {
                        let ended =
                            take_over(database, &orchestrator, &record, asked, &mut before).await?;
                        return match ended {
                            Some(ended) => conclude_own(database, &ended).await,
                            None => Ok(Exit::Refused),
                        };
                    }
                    // It is finished first; then the chosen hosts that have no part in it have their turn.
                    Coverage::Some => {
                        let ended =
                            take_over(database, &orchestrator, &record, asked, &mut before).await?;
                        let Some(mut ended) = ended else {
                            return Ok(Exit::Refused);
                        };
                        // There is more to come.
                        if let Some(over) = ended.over.take() {
                            over.not_yet();
                        }
                        let exit = conclude_own(database, &ended).await?;
                        if !matches!(exit, Exit::Done | Exit::SomeFailed) {
                            return Ok(exit);
                        }
                        before.go_on()?;
                    }
                    Coverage::None => {
                        if !settle(database, &record, asked, &mut before).await? {
                            return Ok(Exit::Refused);
                        }
                    }
                }
            }
            Standing::Interrupted(record) => {
                if !settle(database, &record, asked, &mut before).await? {
                    return Ok(Exit::Refused);
                }
            }
        }
        // What is frozen is the fleet as it is now, not as it was before others were settled.
        let plan = orchestrator.plan(&request).await?;
        if !asked && !confirm(database, &plan, &before, whole).await? {
            return Ok(Exit::Refused);
        }
        asked = true;
        match start(database, &orchestrator, &plan).await {
            Err(Started::Taken) => {}
            Err(Started::Failed(failure)) => return Err(failure),
            Ok(exit) => return Ok(exit),
        }
    }
    match orchestrator.standing().await? {
        Standing::Free => Err(Failure::new(
            Exit::Active,
            "other rollouts took the one place again and again",
        )),
        Standing::Attended(record) | Standing::Interrupted(record) => {
            Err(conflict(&record, true, false))
        }
        Standing::Paused(record) => Err(conflict(&record, false, true)),
        Standing::LeftToNewer(record) => Err(left_to_newer(Exit::Active, record.id)),
    }
}

fn conflict(record: &RolloutRecord, attended: bool, paused: bool) -> Failure {
    active(
        record.id,
        &record.started_by,
        record.created_at,
        attended,
        paused,
    )
}

/// Whether the interrupted rollout goes where the new one would.
fn is_same_target(record: &RolloutRecord, plan: &Plan) -> bool {
    let wanted = &plan.rollout.target_ref;
    let forward = record.kind != RolloutKind::Rollback;
    forward
        && (record.target_ref == *wanted
            || record
                .target
                .as_ref()
                .is_some_and(|target| target.as_str() == wanted))
}

/// How many of the chosen hosts have a part in a rollout.
enum Coverage {
    All,
    Some,
    None,
}

async fn covers(
    database: &DatabaseFleet,
    record: &RolloutRecord,
    plan: &Plan,
) -> Result<Coverage, Failure> {
    let attempts = database.store.attempt_list(record.id).await?;
    let part: HashSet<HostId> = attempts.iter().map(|attempt| attempt.host).collect();
    let chosen = &plan.rollout.hosts;
    let covered = chosen
        .iter()
        .filter(|planned| part.contains(&planned.host))
        .count();
    Ok(match covered {
        0 => Coverage::None,
        some if some < chosen.len() => Coverage::Some,
        _ => Coverage::All,
    })
}

/// Finishes what a dead process began. None: the person did not want that.
async fn take_over(
    database: &DatabaseFleet,
    orchestrator: &Orchestrator,
    record: &RolloutRecord,
    asked: bool,
    before: &mut Before,
) -> Result<Option<Ended>, Failure> {
    let id = record.id.short();
    database.out.say(format!(
        "rollout {id} to {} was interrupted ({}, {}); it is taken over as it was planned then",
        record.target_ref,
        record.started_by,
        words::ago(record.created_at)
    ));
    if !asked
        && !before
            .agrees(database, "Take it over and finish it?".to_owned())
            .await?
    {
        return Ok(None);
    }
    let worker = Worker::start(orchestrator, new_worker(), WorkMode::One(record.id)).await?;
    let ended = work(database, record.id, worker).await?;
    before.note(&ended);
    Ok(Some(ended))
}

/// Ends what a dead process began with another target. False: the person did not want that.
async fn settle(
    database: &DatabaseFleet,
    record: &RolloutRecord,
    asked: bool,
    before: &mut Before,
) -> Result<bool, Failure> {
    let id = record.id.short();
    database.out.say(format!(
        "rollout {id} to {} was interrupted ({}, {}); its hosts in flight are settled, and it is ended first",
        record.target_ref,
        record.started_by,
        words::ago(record.created_at)
    ));
    if !asked
        && !before
            .agrees(database, format!("End rollout {id}?"))
            .await?
    {
        return Ok(false);
    }
    let ended = super::verbs::settle_interrupted(database, record.id).await?;
    before.note(&ended);
    before.go_on()?;
    Ok(true)
}

/// Shows the plan and asks; `whole` when it is about the whole fleet, whatever that is by now.
async fn confirm(
    database: &DatabaseFleet,
    plan: &Plan,
    before: &Before,
    whole: bool,
) -> Result<bool, Failure> {
    let plan = plan.view();
    database.out.say(plan::text(&plan));
    before.agrees(database, question(&plan, whole)).await
}

fn question(plan: &view::Plan, whole: bool) -> Question {
    let text = format!("Update {} to {}?", hosts(plan.hosts), plan.target.reference);
    Question::about(text, plan.hosts, whole)
}

/// What this command did before the rollout that it is about.
#[derive(Debug, Default)]
struct Before {
    /// How the rollouts ended that were in the way.
    settled: Vec<String>,
    interrupted: bool,
}

impl Before {
    fn note(&mut self, ended: &Ended) {
        self.settled.push(format!(
            "rollout {} is {}",
            ended.rollout.id.short(),
            words::state(ended.rollout.state)
        ));
        self.interrupted |= ended.interrupted;
    }

    /// Whoever wanted this program to stop while it settled another rollout does not want the next one started.
    fn go_on(&self) -> Result<(), Failure> {
        if self.interrupted {
            Err(self.stopped())
        } else {
            Ok(())
        }
    }

    /// Asks. False was said to the person already.
    async fn agrees(
        &self,
        database: &DatabaseFleet,
        question: impl Into<Question>,
    ) -> Result<bool, Failure> {
        match ask(database.out, question).await? {
            Answer::Yes => Ok(true),
            Answer::No if self.settled.is_empty() => {
                database.out.say("nothing was changed");
                Ok(false)
            }
            Answer::No => {
                let settled = self.settled.join(", ");
                database
                    .out
                    .say(format!("{settled}; nothing new was started"));
                Ok(false)
            }
            Answer::Interrupted => {
                // The question's line has no end yet.
                database.out.shout("");
                Err(self.stopped())
            }
        }
    }

    fn stopped(&self) -> Failure {
        if self.settled.is_empty() {
            return Failure::new(Exit::Interrupted, "interrupted: nothing was changed");
        }
        Failure::new(Exit::Interrupted, "interrupted: nothing new was started")
            .why(self.settled.join(", "))
    }
}

/// Why a rollout was not started and finished.
pub(crate) enum Started {
    /// Another one took the place in between.
    Taken,
    /// Anything else.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Started {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Freezes the plan and works on it to its end.
pub(crate) async fn start(
    database: &DatabaseFleet,
    orchestrator: &Orchestrator,
    plan: &Plan,
) -> Result<Exit, Started> {
    let who = new_worker();
    let id = match orchestrator.trigger(plan, Some(who.clone())).await {
        Ok(id) => id,
        Err(TriggerRefusal::Refused(fleet_store::TriggerError::Active {
            attended: false,
            paused: false,
            ..
        })) => {
            return Err(Started::Taken);
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let worker = Worker::start_registered(orchestrator, who, WorkMode::One(id)).await?;
    let ended = work(database, id, worker).await?;
    Ok(conclude_own(database, &ended).await?)
}

/// Leaves the work to a server.
pub(crate) async fn detach(
    database: &DatabaseFleet,
    orchestrator: &Orchestrator,
    plan: &Plan,
) -> Result<Exit, Failure> {
    let id = orchestrator.trigger_detached(plan).await?;
    on_server::handed_over(database.out, &database.rollout(id).await?)
}

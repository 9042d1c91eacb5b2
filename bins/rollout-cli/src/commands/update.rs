//! `update`

use std::collections::HashSet;

use fleet_store::RolloutRecord;
use fleet_types::{HostId, RolloutKind};
use rollout_orchestrator::{Orchestrator, Plan, Standing, TriggerRefusal, WorkMode, Worker};

use super::plan;
use crate::ask::{Answer, ask};
use crate::cli::{Global, Update};
use crate::context::{Context, new_worker};
use crate::display::words::{self, hosts};
use crate::exit::Exit;
use crate::failure::{Failure, active};
use crate::output::Output;
use crate::run::{Ended, conclude, work};

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
    let context = Context::open(global, out, arguments.policy.layer()).await?;
    let orchestrator = context.orchestrator()?;
    let request = plan::request(&context, arguments);
    let first = orchestrator.plan(&request).await?;
    if arguments.detach {
        return detach(&context, &orchestrator, &first, arguments.yes).await;
    }
    orchestrator.check_identities(&first).await?;
    let mut asked = arguments.yes;
    let mut before = Before::default();
    for _ in 0..TRIES {
        match orchestrator.standing().await? {
            Standing::Free => {}
            Standing::Attended(record) => return Err(conflict(&record, true, false)),
            Standing::Paused(record) => return Err(conflict(&record, false, true)),
            Standing::Interrupted(record) if is_same_target(&record, &first) => {
                match covers(&context, &record, &first).await? {
                    Coverage::All => {
                        return take_over(&context, &orchestrator, &record, asked, &mut before)
                            .await;
                    }
                    // It is finished first; then the chosen hosts that have no part in it have their turn.
                    Coverage::Some => {
                        let exit =
                            take_over(&context, &orchestrator, &record, asked, &mut before).await?;
                        if !matches!(exit, Exit::Done | Exit::SomeFailed) {
                            return Ok(exit);
                        }
                        before.go_on()?;
                    }
                    Coverage::None => {
                        if !settle(&context, &orchestrator, &record, asked, &mut before).await? {
                            return Ok(Exit::Refused);
                        }
                    }
                }
            }
            Standing::Interrupted(record) => {
                if !settle(&context, &orchestrator, &record, asked, &mut before).await? {
                    return Ok(Exit::Refused);
                }
            }
        }
        // What is frozen is the fleet as it is now, not as it was before others were settled.
        let plan = orchestrator.plan(&request).await?;
        if !asked && !confirm(&context, &plan, &before).await? {
            return Ok(Exit::Refused);
        }
        asked = true;
        match start(&context, &orchestrator, &plan).await {
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
    context: &Context,
    record: &RolloutRecord,
    plan: &Plan,
) -> Result<Coverage, Failure> {
    let attempts = context.store.attempt_list(record.id).await?;
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

/// Finishes what a dead process began.
async fn take_over(
    context: &Context,
    orchestrator: &Orchestrator,
    record: &RolloutRecord,
    asked: bool,
    before: &mut Before,
) -> Result<Exit, Failure> {
    let id = record.id.short();
    context.out.say(format!(
        "rollout {id} to {} was interrupted ({}, {}); it is taken over as it was planned then",
        record.target_ref,
        record.started_by,
        words::ago(record.created_at)
    ));
    if !asked
        && !before
            .agrees(context, "Take it over and finish it?".to_owned())
            .await?
    {
        return Ok(Exit::Refused);
    }
    let worker = Worker::start(orchestrator, new_worker(), WorkMode::One(record.id)).await?;
    let ended = work(context, orchestrator, record.id, worker).await?;
    before.note(&ended);
    conclude(context, &ended).await
}

/// Ends what a dead process began with another target. False: the person did not want that.
async fn settle(
    context: &Context,
    orchestrator: &Orchestrator,
    record: &RolloutRecord,
    asked: bool,
    before: &mut Before,
) -> Result<bool, Failure> {
    let id = record.id.short();
    context.out.say(format!(
        "rollout {id} to {} was interrupted ({}, {}); its hosts in flight are settled, and it is ended first",
        record.target_ref,
        record.started_by,
        words::ago(record.created_at)
    ));
    if !asked && !before.agrees(context, format!("End rollout {id}?")).await? {
        return Ok(false);
    }
    let ended = super::verbs::settle_interrupted(context, orchestrator, record.id).await?;
    before.note(&ended);
    before.go_on()?;
    Ok(true)
}

async fn confirm(context: &Context, plan: &Plan, before: &Before) -> Result<bool, Failure> {
    let count = u32::try_from(plan.hosts.len()).unwrap_or(u32::MAX);
    context.out.say(plan::text(plan));
    let question = format!("Update {} to {}?", hosts(count), plan.rollout.target_ref);
    before.agrees(context, question).await
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
    async fn agrees(&self, context: &Context, question: String) -> Result<bool, Failure> {
        match ask(context.out, question).await? {
            Answer::Yes => Ok(true),
            Answer::No if self.settled.is_empty() => {
                context.out.say("nothing was changed");
                Ok(false)
            }
            Answer::No => {
                let settled = self.settled.join(", ");
                context
                    .out
                    .say(format!("{settled}; nothing new was started"));
                Ok(false)
            }
            Answer::Interrupted => {
                // The question's line has no end yet.
                context.out.shout("");
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
    context: &Context,
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
    let ended = work(context, orchestrator, id, worker).await?;
    Ok(conclude(context, &ended).await?)
}

/// Leaves the work to a server.
pub(crate) async fn detach(
    context: &Context,
    orchestrator: &Orchestrator,
    plan: &Plan,
    asked: bool,
) -> Result<Exit, Failure> {
    if !asked && !confirm(context, plan, &Before::default()).await? {
        return Ok(Exit::Refused);
    }
    let id = orchestrator.trigger_detached(plan).await?;
    if context.out.json {
        let rollout = crate::follow::rollout_view(&context.store, id).await?;
        context
            .out
            .object(&serde_json::json!({ "rollout": rollout }))?;
    }
    context.out.say(format!(
        "rollout {} is started; a server does the work",
        id.short()
    ));
    context.out.next(&[(
        format!("rollout-cli watch {}", id.short()),
        "follow it to its end",
    )]);
    Ok(Exit::Done)
}

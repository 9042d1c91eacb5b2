//! What people ask of rollouts, each from a process of their own.

use fleet_store::{Actor, Inventory, NewHost, RequestKey, Rollouts, sample_host};
use fleet_types::{RolloutId, Selection, TargetRef, Verb};
use rollout_orchestrator::{AgainRequest, PlanRequest, TriggerRefusal};

use crate::process::Process;
use crate::world::World;

pub(crate) fn actor() -> Actor {
    Actor::local("ann")
}

pub(crate) fn name_of(number: usize) -> String {
    format!("web-{number:03}")
}

/// A host as it is put into the inventory; a twin shares the machine of the one before it.
pub(crate) fn entry(number: usize, twin: bool) -> NewHost {
    let name = name_of(number);
    let mut host = sample_host(&name);
    host.spec.app.verify = Some("curl -fsS localhost:3000/health".to_owned());
    if twin {
        let valid = "these are valid names";
        host.spec.address = sample_host(&name_of(number - 1)).spec.address;
        host.spec.app.repo = format!("/srv/{name}").parse().expect(valid);
        host.spec.app.service = format!("app-{name}").parse().expect(valid);
    }
    host
}

/// What to update to.
fn wanted(world: &World) -> Option<TargetRef> {
    let tip = world.fleet.change_origin(|origin| origin.branches.clone());
    let tip = tip.get("main").cloned()?;
    match world.dice(|dice| dice.below(10)) {
        0 | 1 => Some(TargetRef::Commit(tip)),
        _ => None,
    }
}

pub(crate) fn request(world: &World, force: bool) -> PlanRequest {
    let some = world.schedule.people && world.dice(|dice| dice.below(5) == 0);
    let word = world.dice(|dice| format!("web-00{}", dice.between(1, 4)));
    let selection = match word.parse() {
        Ok(word) if some => Selection::On(vec![word]),
        _ => Selection::All,
    };
    PlanRequest {
        selection,
        to: wanted(world),
        policy: world.schedule.policy.clone(),
        message: None,
        actor: actor(),
        force,
    }
}

/// Starts a rollout; the process drives it, unless it is left to servers.
pub(crate) async fn trigger(
    process: &mut Process,
    force: bool,
    key: Option<u64>,
) -> Result<RolloutId, TriggerRefusal> {
    let world = process.gate.world().clone();
    let request = request(&world, force);
    let mut plan = match process.orchestrator.plan(&request).await {
        Ok(plan) => plan,
        Err(error) => {
            world.note(format_args!("p{}: {error}", process.gate.number()));
            return Err(TriggerRefusal::NobodyServes);
        }
    };
    plan.rollout.request = key.map(|key| RequestKey {
        key: format!("ann {key}"),
        fingerprint: "update".to_owned(),
    });
    let drives = world.dice(|dice| dice.below(2) == 0);
    let who = drives.then(|| process.who(false));
    let id = process.orchestrator.trigger(&plan, who.clone()).await?;
    if let Some(who) = who {
        process.drive(who, id, true);
    }
    Ok(id)
}

/// A word about the rollout that is active, or about the latest.
pub(crate) fn ask(process: &mut Process, what: u64) {
    let orchestrator = process.orchestrator.clone();
    let world = process.gate.world().clone();
    process.spawn(async move {
        let Ok(Some(record)) = orchestrator.store().rollout_latest().await else {
            return;
        };
        let again = AgainRequest {
            source: record.id,
            policy: None,
            message: None,
            actor: actor(),
        };
        let said = match what {
            0 => say(orchestrator.pause(record.id, &actor()).await),
            1 | 2 => say(orchestrator.resume(record.id, &actor()).await),
            3 => say(orchestrator.abort(record.id, &actor()).await),
            4 => say(orchestrator.retry(&again, None).await),
            _ => say(orchestrator.rollback(&again, None).await),
        };
        let word = ["pause", "resume", "resume", "abort", "retry", "rollback"];
        let word = word
            .get(usize::try_from(what).unwrap_or(5))
            .unwrap_or(&"rollback");
        world.note(format_args!("{word}: {said}"));
    });
}

fn say<T, E: std::fmt::Display>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// A paused rollout goes on, without any fault in between.
pub(crate) async fn resume_all(world: &World) {
    if let Ok(Some(record)) = world.store.rollout_active().await {
        let _ = world
            .store
            .rollout_verb(record.id, Verb::Resume, &actor())
            .await;
    }
}

/// Changes the inventory: an entry is edited, leaves, or comes back.
pub(crate) fn edit(process: &mut Process, number: usize, what: u64) {
    let orchestrator = process.orchestrator.clone();
    let world = process.gate.world().clone();
    process.spawn(async move {
        let Ok(name) = name_of(number).parse() else {
            return;
        };
        let store: &dyn Inventory = &**orchestrator.store();
        let said = match what {
            0 => say(store.host_remove(&name, &actor()).await),
            1 => say(store.host_add(vec![entry(number, false)], &actor()).await),
            2 => say(store.host_clear_attention(&name, &actor()).await),
            _ => match store.host_get(&name).await {
                Ok(Some(record)) => {
                    let mut host = NewHost {
                        name: record.name.clone(),
                        spec: record.spec,
                        labels: record.labels,
                        owner: Some("bob".to_owned()),
                    };
                    host.spec.app.timeouts.install += 1;
                    say(store.host_edit(&name, host, &actor()).await)
                }
                other => format!("{other:?}"),
            },
        };
        world.note(format_args!("edits {name}, {what}: {said}"));
    });
}

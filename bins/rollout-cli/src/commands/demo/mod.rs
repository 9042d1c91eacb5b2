//! `demo`: a real rollout over real SSH to hosts inside this process.

use fleet_store::Actor;
use fleet_types::{Selection, TargetRef};
use local_fleet::{LocalFleet, Release};
use rollout_orchestrator::{PlanRequest, WorkMode, Worker};
use rollout_parts::demo::{self, Script};
use rollout_parts::open_store;
use std::path::Path;
use std::sync::Arc;

use crate::cli::Demo;
use crate::display::summary::result;
use crate::display::words::{hosts as count_hosts, short};
use crate::environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::{DatabaseFleet, Inventory as _, new_worker};
use crate::output::{Output, Paint};
use crate::run::{Ended, details, summary_line, work};

/// Makes a fleet, announces what will happen, lets it happen, and looks whether it did.
pub(crate) async fn run(arguments: &Demo, out: Output) -> Result<Exit, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("rollout-demo-")
        .tempdir()
        .map_err(|error| Failure::unexpected("no temporary folder can be made").why(error))?;
    let seed = arguments
        .seed
        .unwrap_or_else(|| rand::random_range(0..1_000_000));
    let script = Script::new(arguments.hosts, arguments.broken, seed);
    out.say(format!(
        "making {} on 127.0.0.1 …",
        plural_servers(arguments.hosts)
    ));
    let fleet = demo::make_fleet(folder.path(), &script)
        .await
        .map_err(|error| {
            Failure::unexpected("the demo fleet cannot be made")
                .why(error)
                .help("it needs git on the PATH")
        })?;
    let done = play(&fleet, folder.path(), &script, out).await;
    fleet.stop().await;
    done
}

fn plural_servers(count: u32) -> String {
    crate::display::words::plural(count, "SSH server")
}

async fn play(
    fleet: &LocalFleet,
    folder: &Path,
    script: &Script,
    out: Output,
) -> Result<Exit, Failure> {
    let before = fleet.first_release();
    let release = fleet
        .add_release(demo::new_release(script, "The new release"))
        .await
        .map_err(|error| Failure::unexpected("the release cannot be made").why(error))?;
    let database = database(fleet, folder, out).await?;
    enrol(&database, fleet).await?;
    announce(out, script, &before, &release);
    let mut ended = update(&database, &release).await?;
    // The exit code of a demo is another one, and not known yet.
    if let Some(over) = ended.over.take() {
        over.not_yet();
    }
    if out.json {
        summary_line(out, &ended)?;
    } else {
        out.data(&result(
            &ended.rollout,
            &ended.hosts,
            &details(&database, &ended).await?,
        ))?;
    }
    if ended.rollout.state.is_active() {
        out.shout("interrupted; the demo fleet is gone");
        return Ok(Exit::Interrupted);
    }
    judge(out, script, fleet, &ended, &before, &release).await
}

/// A store and settings of its own; what is configured on this machine plays no part.
async fn database(
    fleet: &LocalFleet,
    folder: &Path,
    out: Output,
) -> Result<DatabaseFleet, Failure> {
    let settings = demo::settings(fleet, folder)?;
    let store = Arc::new(open_store(&settings).await?);
    Ok(DatabaseFleet {
        out,
        settings,
        actor: environment::actor(),
        store: Arc::clone(&store) as _,
        admin: store,
        home: None,
    })
}

/// Adds the hosts to the fleet and pins their keys, as `hosts add` and `hosts trust` do.
async fn enrol(database: &DatabaseFleet, fleet: &LocalFleet) -> Result<(), Failure> {
    let hosts = demo::new_hosts(fleet, &database.settings)?;
    database.add(hosts).await?;
    super::hosts::trust::pin_all(database).await
}

fn announce(out: Output, script: &Script, before: &Release, release: &Release) {
    let what = format!(
        "{} on 127.0.0.1, each with its own git clone and service",
        plural_servers(script.hosts())
    );
    out.say(format!("Demo fleet   {what}"));
    let (from, to) = (short(&before.commit), short(&release.commit));
    out.say(format!("Release      {from} → {to}; {}", script.breakage()));
    out.say(format!(
        "Expect       {}   (seed {})\n",
        script.expectation(),
        script.seed()
    ));
}

async fn update(database: &DatabaseFleet, release: &Release) -> Result<Ended, Failure> {
    let orchestrator = database.orchestrator()?;
    let to: TargetRef = release.commit.parse()?;
    let request = PlanRequest {
        selection: Selection::All,
        to: Some(to),
        policy: database.settings.rollout.policy(0),
        message: Some("demo".to_owned()),
        actor: Actor::local("demo"),
        force: false,
    };
    let plan = orchestrator.plan(&request).await?;
    let who = new_worker();
    let id = orchestrator.trigger(&plan, Some(who.clone())).await?;
    let worker = Worker::start_registered(&orchestrator, who, WorkMode::One(id)).await?;
    work(database, id, worker).await
}

/// Compares what was announced with what is on record, and with what the hosts themselves say.
async fn judge(
    out: Output,
    script: &Script,
    fleet: &LocalFleet,
    ended: &Ended,
    before: &Release,
    release: &Release,
) -> Result<Exit, Failure> {
    let mut differences = script.differences(&ended.rollout, &ended.hosts);
    for host in fleet.hosts() {
        let updated = ended.hosts.iter().any(|seen| {
            seen.name == host.name()
                && seen.update_status == Some(fleet_types::AttemptStatus::Success)
        });
        let expected = if updated {
            &release.commit
        } else {
            &before.commit
        };
        match host.head().await {
            Ok(head) if head == *expected => {}
            Ok(head) => differences.push(format!("{} is on {}", host.name(), short(&head))),
            Err(error) => differences.push(format!("{}: {error}", host.name())),
        }
    }
    if !differences.is_empty() {
        let shown: Vec<&str> = differences.iter().map(String::as_str).take(5).collect();
        return Err(Failure::unexpected("what was announced did not happen").why(shown.join("; ")));
    }
    let count = count_hosts(script.hosts());
    out.say(format!(
        "\n{} what was announced happened; git on all {count} says the same",
        Paint::Green.on("✓")
    ));
    out.next(&next(script));
    Ok(Exit::Done)
}

fn next(script: &Script) -> Vec<(String, &'static str)> {
    let program = environment::program();
    let other = if script.halts() {
        (
            format!("{program} demo"),
            "one broken host, which does not stop the others",
        )
    } else {
        (format!("{program} demo --break 40%"), "see it halt")
    };
    vec![
        other,
        (
            format!("{program} init"),
            "your own fleet, in three questions",
        ),
    ]
}

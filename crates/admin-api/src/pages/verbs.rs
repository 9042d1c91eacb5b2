//! Pause, resume, abort: what each would do now, and doing it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use fleet_types::{AttemptStatus, RolloutId, RolloutKind, view};

use crate::api::updates::{find, rollout_view};
use crate::identity::Caller;
use crate::pages::layout::{Nav, Page, go, html};
use crate::pages::versions::Versions;
use crate::pages::{rollout_shown, show};
use crate::problem::Problem;
use crate::state::AdminApi;

/// A question with one way to go on.
#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct Confirm {
    pub(crate) page: Page,
    pub(crate) lines: Vec<String>,
    pub(crate) action: String,
    pub(crate) back: String,
    pub(crate) keep: &'static str,
    pub(crate) button: &'static str,
    pub(crate) danger: bool,
}

/// A rollout as those see it who are about to steer it.
struct Standing {
    rollout: view::Rollout,
    /// What those are on that are not started, and those that are under way.
    waiting: Versions,
    under_way: Versions,
    to: String,
}

impl Standing {
    async fn load(api: &AdminApi, id: RolloutId) -> Result<Self, Problem> {
        let rollout = rollout_view(api, id).await?;
        let hosts = api.store().host_views(Some(id)).await?;
        let on = |wanted: AttemptStatus| -> Versions {
            let within = |host: &&view::Host| {
                let attempt = host.attempt.as_ref().filter(|own| own.rollout == id);
                attempt.is_some_and(|own| own.status == wanted)
            };
            hosts
                .iter()
                .filter(within)
                .map(|host| host.current_version.as_deref())
                .collect()
        };
        Ok(Self {
            waiting: on(AttemptStatus::Pending),
            under_way: on(AttemptStatus::Updating),
            to: match rollout.kind {
                RolloutKind::Rollback => "their own previous versions".to_owned(),
                _ => rollout_shown::target(&rollout),
            },
            rollout,
        })
    }

    fn finishing(&self) -> String {
        match self.rollout.counts.updating {
            0 => "none is under way".to_owned(),
            1 => format!("1 host under way, from {}, finishes first", self.under_way),
            many => format!(
                "{many} hosts under way, from {}, finish first",
                self.under_way
            ),
        }
    }
}

/// The question of one verb.
async fn ask(
    api: &AdminApi,
    caller: &Caller,
    id: &str,
    question: Question,
) -> Result<Response, Problem> {
    let id = find::rollout(api, id).await?;
    let standing = Standing::load(api, id).await?;
    let Question {
        word,
        verb,
        keep,
        danger,
        lines,
    } = question;
    html(&Confirm {
        page: Page::load(
            api,
            caller,
            Nav::Rollouts,
            format!("{word} rollout {}?", id.short()),
        )
        .await?,
        lines: lines(&standing),
        action: format!("/admin/updates/rollouts/{id}/{verb}"),
        back: format!("/admin/updates/rollouts/{id}"),
        keep,
        button: word,
        danger,
    })
}

struct Question {
    word: &'static str,
    verb: &'static str,
    keep: &'static str,
    danger: bool,
    lines: fn(&Standing) -> Vec<String>,
}

const PAUSE: Question = Question {
    word: "Pause",
    verb: "pause",
    keep: "Keep running",
    danger: false,
    lines: |now| {
        vec![match now.rollout.counts.pending {
            0 => format!("No host waits to go to {}; {}.", now.to, now.finishing()),
            waiting => format!(
                "{} not started yet, on {}, do not go to {} until somebody resumes; {}.",
                show::hosts(waiting),
                now.waiting,
                now.to,
                now.finishing()
            ),
        }]
    },
};

const RESUME: Question = Question {
    word: "Resume",
    verb: "resume",
    keep: "Keep it paused",
    danger: false,
    lines: |now| {
        vec![match now.rollout.counts.pending {
            0 => format!("No host waits to go to {}.", now.to),
            waiting => format!(
                "{} go from {} to {}, stage by stage.",
                show::hosts(waiting),
                now.waiting,
                now.to
            ),
        }]
    },
};

const ABORT: Question = Question {
    word: "Abort",
    verb: "abort",
    keep: "Keep it",
    danger: true,
    lines: |now| {
        let counts = now.rollout.counts;
        let mut lines = vec![match counts.updating {
            0 => "No host is under way.".to_owned(),
            many => format!(
                "{} under way from {} to {}: they finish or roll back first.",
                show::hosts(many),
                now.under_way,
                now.to
            ),
        }];
        lines.push(format!(
            "{} on {} already stay there.",
            show::hosts(counts.success),
            now.to
        ));
        lines.push(match counts.pending {
            0 => "No host waits.".to_owned(),
            many => format!(
                "{} waiting are not started and stay on {}.",
                show::hosts(many),
                now.waiting
            ),
        });
        lines.push("To bring the updated ones back, use Roll back afterwards.".to_owned());
        lines
    },
};

pub(crate) async fn ask_pause(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    ask(&api, &caller, &id, PAUSE).await
}

pub(crate) async fn ask_resume(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    ask(&api, &caller, &id, RESUME).await
}

pub(crate) async fn ask_abort(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    ask(&api, &caller, &id, ABORT).await
}

pub(crate) async fn pause(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().pause(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}

pub(crate) async fn resume(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().resume(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}

pub(crate) async fn abort(
    State(api): State<AdminApi>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = find::rollout(&api, &id).await?;
    api.orchestrator().abort(id, &caller.actor()).await?;
    Ok(go(format!("/admin/updates/rollouts/{id}")))
}

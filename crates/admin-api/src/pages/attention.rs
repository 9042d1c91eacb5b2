//! What needs attention: which hosts a person should look at first, why, and since when.

use std::collections::HashSet;

use fleet_store::HostQuery;
use fleet_types::{AttemptStatus, HealthState, RolloutId, Timestamp, printable, view};

use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

/// Hosts that are shown, of all kinds together.
const SHOWN: u32 = 10;

/// The most urgent hosts, and how many there are of each kind.
pub(crate) struct Attention {
    pub(crate) rows: Vec<Row>,
    pub(crate) kinds: Vec<Kind>,
    /// How many hosts of these kinds there are besides. One that is of two kinds counts for both.
    pub(crate) more: u32,
}

/// One reason to look at hosts.
pub(crate) struct Kind {
    pub(crate) count: u32,
    pub(crate) word: &'static str,
    pub(crate) href: String,
    why: Why,
}

/// One host to look at.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) state: &'static str,
    pub(crate) what: String,
    pub(crate) since: Option<Timestamp>,
}

#[derive(Clone, Copy)]
enum Why {
    Person,
    Health(HealthState),
    Rollout(RolloutId),
}

impl Attention {
    /// One query of a few rows for each kind that there is, until enough hosts are found.
    pub(crate) async fn load(api: &AdminApi, status: &view::Status) -> Result<Self, Problem> {
        let mut kinds = kinds(status);
        let mut rows = Vec::new();
        let mut names = HashSet::new();
        for kind in &mut kinds {
            let counted = matches!(kind.why, Why::Rollout(_));
            if rows.len() >= SHOWN as usize && !counted {
                continue;
            }
            let page = api.store().host_page(kind.why.query()).await?;
            if counted {
                // Its own count is of all that were part of it.
                kind.count = page.total;
            }
            for host in page.items {
                if rows.len() < SHOWN as usize && names.insert(host.name.clone()) {
                    rows.push(kind.why.row(host));
                }
            }
        }
        kinds.retain(|kind| kind.count > 0);
        let all: u32 = kinds.iter().map(|kind| kind.count).sum();
        let shown = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        // A host may be of several kinds; when there is room left, all of them are shown.
        let more = match shown < SHOWN {
            true => 0,
            false => all.saturating_sub(shown),
        };
        Ok(Self { rows, kinds, more })
    }
}

/// The kinds of which there are hosts, the most urgent first.
fn kinds(status: &view::Status) -> Vec<Kind> {
    let fleet = &status.fleet;
    let health = &fleet.health;
    let of_health = |count, state: HealthState, word| Kind {
        count,
        word,
        href: format!("/admin/updates/hosts?health={state}"),
        why: Why::Health(state),
    };
    let mut kinds = vec![
        Kind {
            count: fleet.needs_attention,
            word: "for a person to look at",
            href: "/admin/updates/hosts?needs_attention=true".to_owned(),
            why: Why::Person,
        },
        of_health(health.unhealthy, HealthState::Unhealthy, "unhealthy"),
        of_health(health.inactive, HealthState::Inactive, "inactive"),
        of_health(health.unreachable, HealthState::Unreachable, "unreachable"),
    ];
    if let Some(rollout) = &status.rollout {
        kinds.push(Kind {
            count: rollout.counts.failed + rollout.counts.rolled_back,
            word: "rolled back or failed in the last rollout",
            href: format!(
                "/admin/updates/hosts?rollout={}&status=failed,rolled_back&in_fleet=true",
                rollout.id
            ),
            why: Why::Rollout(rollout.id),
        });
    }
    kinds.retain(|kind| kind.count > 0);
    kinds
}

impl Why {
    fn query(self) -> HostQuery {
        let few = HostQuery {
            limit: SHOWN,
            ..HostQuery::default()
        };
        match self {
            Self::Person => HostQuery {
                needs_attention: Some(true),
                ..few
            },
            Self::Health(health) => HostQuery {
                health: Some(health),
                ..few
            },
            Self::Rollout(rollout) => HostQuery {
                rollout: Some(rollout),
                status: vec![AttemptStatus::Failed, AttemptStatus::RolledBack],
                // Nobody looks after a host that was taken out.
                in_fleet: true,
                ..few
            },
        }
    }

    fn row(self, host: view::Host) -> Row {
        let (state, what, since) = match self {
            Self::Health(health) => (
                show::health_state(health),
                seen(&host),
                host.health_since.or(host.checked_at),
            ),
            Self::Person => ("attention", done(&host), host.last_update_at),
            Self::Rollout(_) => {
                let state = host.attempt.as_ref().map_or("failed", |attempt| {
                    show::attempt_state(attempt, host.needs_attention)
                });
                (state, done(&host), host.last_update_at)
            }
        };
        let within = match self {
            Self::Rollout(id) => format!("?rollout={id}"),
            _ => String::new(),
        };
        Row {
            href: format!("/admin/updates/hosts/{}{within}", host.name),
            name: host.name,
            state,
            what: printable(&what),
            since,
        }
    }
}

/// What the health checker saw.
fn seen(host: &view::Host) -> String {
    let word = show::words(host.health.as_str());
    match host.health_message.as_deref() {
        Some(text) if !text.is_empty() => format!("{word}: {text}"),
        _ => word,
    }
}

/// How the host's part in a rollout ended.
fn done(host: &view::Host) -> String {
    let Some(attempt) = &host.attempt else {
        return show::words(host.health.as_str());
    };
    let status = show::words(attempt.status.as_str());
    let message = attempt.message.as_deref().or(attempt.reason.as_deref());
    match (attempt.step.as_deref(), message) {
        (Some(step), Some(text)) => format!("{status}: {}: {text}", show::words(step)),
        (None, Some(text)) => format!("{status}: {text}"),
        (_, None) => status,
    }
}

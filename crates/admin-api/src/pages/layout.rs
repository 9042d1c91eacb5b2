//! What is around every page.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use fleet_types::{Right, RolloutId, RolloutState, Timestamp};

use crate::api::now;
use crate::identity::{Caller, CallerKind};
use crate::pages::assets::{ADDRESSES, Addresses};
use crate::pages::show::{self, Time};
use crate::problem::Problem;
use crate::state::AdminApi;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nav {
    Overview,
    Rollouts,
    Hosts,
    Users,
    Tokens,
    Audit,
    Settings,
    Dashboard,
    Account,
    None,
}

/// A link of the navigation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) href: &'static str,
    pub(crate) text: &'static str,
    pub(crate) here: bool,
}

/// Where a live page listens.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) feed: String,
    pub(crate) status: String,
    pub(crate) seq: i64,
    /// The host that the page is about.
    pub(crate) host: String,
}

/// The rollout that runs, as every page shows it.
#[derive(Debug)]
pub(crate) struct Strip {
    pub(crate) id: RolloutId,
    pub(crate) text: String,
}

/// The frame of one page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) nav: Nav,
    pub(crate) caller: Option<Caller>,
    pub(crate) strip: Option<Strip>,
    pub(crate) live: Option<Live>,
    /// Whether owners have a page of their instances here.
    pub(crate) dashboard: bool,
    /// Where people sign in, for the scripts to know that page from ours.
    pub(crate) sign_in: Option<String>,
    pub(crate) now: Timestamp,
}

impl Page {
    /// A page for this caller.
    pub(crate) async fn load(
        api: &AdminApi,
        caller: &Caller,
        nav: Nav,
        title: impl Into<String>,
    ) -> Result<Self, Problem> {
        let mut page = Self {
            nav,
            caller: Some(caller.clone()),
            dashboard: api.mounted().dashboard,
            sign_in: api.sign_in_address().map(str::to_owned),
            ..Self::bare(title)
        };
        if page.may(Right::Read) {
            page.strip = strip(api).await?;
        }
        Ok(page)
    }

    /// A page for nobody in particular.
    pub(crate) fn bare(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            nav: Nav::None,
            caller: None,
            strip: None,
            live: None,
            dashboard: false,
            sign_in: None,
            now: now(),
        }
    }

    /// Makes the page listen to the feed from here on. To be called before anything else is read.
    pub(crate) async fn listen(
        mut self,
        api: &AdminApi,
        rollout: Option<RolloutId>,
    ) -> Result<Self, Problem> {
        let (feed, status) = match rollout {
            Some(id) => (
                format!("/api/updates/events?rollout={id}"),
                format!("/api/updates/rollouts/{id}"),
            ),
            None => (
                "/api/updates/events".to_owned(),
                "/api/updates/status".to_owned(),
            ),
        };
        self.live = Some(Live {
            feed,
            status,
            seq: api.store().last_seq().await?.0,
            host: String::new(),
        });
        Ok(self)
    }

    pub(crate) fn may(&self, right: Right) -> bool {
        self.caller
            .as_ref()
            .is_some_and(|caller| caller.role.may(right))
    }

    pub(crate) fn operates(&self) -> bool {
        self.may(Right::Operate)
    }

    pub(crate) fn manages(&self) -> bool {
        self.may(Right::Manage)
    }

    pub(crate) fn reads(&self) -> bool {
        self.may(Right::Read)
    }

    /// Whether there is a session to end.
    pub(crate) fn signed_in(&self) -> bool {
        self.caller
            .as_ref()
            .is_some_and(|caller| matches!(caller.kind, CallerKind::Session(_)))
    }

    pub(crate) fn name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.name)
    }

    pub(crate) fn is_account(&self) -> bool {
        self.nav == Nav::Account
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        let entries = [
            (Nav::Overview, "/admin/updates", "Overview", Right::Read),
            (
                Nav::Rollouts,
                "/admin/updates/rollouts",
                "Rollouts",
                Right::Read,
            ),
            (Nav::Hosts, "/admin/updates/hosts", "Hosts", Right::Read),
            (Nav::Users, "/admin/users", "People", Right::Manage),
            (Nav::Tokens, "/admin/tokens", "Tokens", Right::Manage),
            (Nav::Audit, "/admin/audit", "Audit", Right::Manage),
            (Nav::Settings, "/admin/settings", "Settings", Right::Manage),
        ];
        let mut links: Vec<Link> = entries
            .into_iter()
            .filter(|(.., right)| self.may(*right))
            .map(|(nav, href, text, _)| Link {
                href,
                text,
                here: nav == self.nav,
            })
            .collect();
        if links.is_empty() && self.dashboard && self.may(Right::Own) {
            links.push(Link {
                href: "/dashboard",
                text: "Your instances",
                here: self.nav == Nav::Dashboard,
            });
        }
        links
    }

    pub(crate) fn assets(&self) -> &'static Addresses {
        &ADDRESSES
    }

    pub(crate) fn patterns(&self) -> &'static str {
        show::PATTERNS
    }

    /// Whether a moment is past.
    pub(crate) fn over(&self, at: &Option<Timestamp>) -> bool {
        at.is_some_and(|at| at <= self.now)
    }

    pub(crate) fn time(&self, at: &Timestamp) -> Time {
        Time {
            at: *at,
            now: self.now,
        }
    }
}

async fn strip(api: &AdminApi) -> Result<Option<Strip>, Problem> {
    let active = api.store().rollout_active().await?;
    Ok(active.map(|record| {
        let what = match record.state {
            RolloutState::Running => "is running",
            RolloutState::Paused => "is paused",
            RolloutState::Halting => "is halting",
            _ => "is being aborted",
        };
        let target = record
            .target
            .as_ref()
            .map_or(record.target_ref.as_str(), |commit| commit.short());
        Strip {
            id: record.id,
            text: format!(
                "{what}: {} to {}, stage {}.",
                show::hosts(record.hosts),
                show::short(target),
                record.stage
            ),
        }
    }))
}

/// A template as an answer.
pub(crate) fn html(template: &impl Template) -> Result<Response, Problem> {
    html_with(StatusCode::OK, template)
}

/// A template as an answer with this status.
pub(crate) fn html_with(status: StatusCode, template: &impl Template) -> Result<Response, Problem> {
    let text = template.render().map_err(|error| {
        crate::problem::log_cause("a page could not be made", &error);
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; the log knows what",
        )
    })?;
    Ok((status, [(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

/// On to another page after something was done.
pub(crate) fn go(to: impl AsRef<str>) -> Response {
    axum::response::Redirect::to(to.as_ref()).into_response()
}

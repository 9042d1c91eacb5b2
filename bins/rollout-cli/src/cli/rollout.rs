use clap::{ArgGroup, Args};
use fleet_types::{HostOrder, Percent, Policy, Selection, Selector, StagePercents, TargetRef};
use rollout_settings::{OrderSetting, RolloutLayer, Seconds, paced};

use super::Which;

/// `plan` and `update`
#[derive(Clone, Debug, Args)]
pub(crate) struct Update {
    /// Full commit hash or branch [default: the branch that the hosts follow]
    #[arg(long, value_name = "COMMIT|BRANCH")]
    pub to: Option<TargetRef>,
    /// Which hosts.
    #[command(flatten)]
    pub choice: Choice,
    /// How.
    #[command(flatten)]
    pub policy: PolicyFlags,
    /// What to remember about it
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Show the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the rollout and leave the work to a server on the same database
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Start it although the commit halted a rollout before
    #[arg(long)]
    pub force: bool,
    /// Do not ask; else --all, and more than 50 hosts, take their number typed
    #[arg(short, long)]
    pub yes: bool,
}

/// Which hosts; one of the two must be said.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("hosts").required(true).args(["all", "on"]))]
pub(crate) struct Choice {
    /// Hosts: names, globs, @label, @key=value, !not; may be said more than once
    #[arg(long, value_name = "SELECTOR", value_delimiter = ',')]
    pub on: Vec<Selector>,
    /// Every host of the fleet
    #[arg(long)]
    pub all: bool,
}

impl Choice {
    /// As a selection.
    pub(crate) fn selection(&self) -> Selection {
        if self.all {
            Selection::All
        } else {
            Selection::On(self.on.clone())
        }
    }
}

/// How a rollout goes about it; what isn't said comes from the configuration.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PolicyFlags {
    /// Cumulative percentages, ascending, ending at 100 [default: 10,50,100]
    #[arg(
        long,
        value_name = "PERCENTS",
        allow_hyphen_values = true,
        help_heading = "Policy"
    )]
    pub stages: Option<StagePercents>,
    /// A stage halts when more than this share of it fails [default: 30%]
    #[arg(
        long,
        value_name = "PERCENT",
        allow_hyphen_values = true,
        help_heading = "Policy"
    )]
    pub max_failures: Option<Percent>,
    /// SSH connections at once [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Policy")]
    pub concurrency: Option<u32>,
    /// Hosts under way at once, those in their settle wait included [default: 4 × concurrency]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Policy")]
    pub max_in_flight: Option<u32>,
    /// How long a restarted service is watched: 500ms, 30s, 2m [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "Policy")]
    pub settle: Option<Seconds>,
    /// Order of the hosts: name or random [default: name]
    #[arg(long, value_name = "ORDER", value_parser = order, help_heading = "Policy")]
    pub order: Option<OrderSetting>,
}

impl PolicyFlags {
    /// As a layer over the settings.
    pub(crate) fn layer(&self) -> RolloutLayer {
        RolloutLayer {
            stages: self.stages.clone(),
            max_failures: self.max_failures,
            concurrency: self.concurrency,
            max_in_flight: self.max_in_flight,
            settle: self.settle,
            order: self.order,
        }
    }

    /// What was said, over the policy of an earlier rollout; `configured` is the `max_in_flight` of the settings, if
    /// there is one.
    pub(crate) fn over(&self, earlier: Policy, configured: Option<u32>) -> Policy {
        let paced = paced(earlier, self.concurrency, self.max_in_flight, configured);
        Policy {
            stages: self.stages.clone().unwrap_or(paced.stages),
            max_failure_percent: self.max_failures.unwrap_or(paced.max_failure_percent),
            settle: self.settle.map_or(paced.settle, |settle| settle.0),
            order: match self.order {
                None => paced.order,
                Some(OrderSetting::Name) => HostOrder::Name,
                Some(OrderSetting::Random) => HostOrder::Random(rand::random()),
            },
            ..paced
        }
    }
}

fn order(text: &str) -> Result<OrderSetting, String> {
    match text {
        "name" => Ok(OrderSetting::Name),
        "random" => Ok(OrderSetting::Random),
        _ => Err("must be name or random".to_owned()),
    }
}

/// `retry` and `rollback`
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// Which rollout.
    #[command(flatten)]
    pub which: Which,
    /// How; what isn't said is as in that rollout.
    #[command(flatten)]
    pub policy: PolicyFlags,
    /// What to remember about it
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Show the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the rollout and leave the work to a server on the same database
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Do not ask; else more than 50 hosts take their number typed
    #[arg(short, long)]
    pub yes: bool,
}

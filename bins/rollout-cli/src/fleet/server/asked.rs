//! A rollout as it is asked of a server: only what was said; what was not is as the server is configured.

use fleet_types::{RolloutId, RolloutKind, view};
use rollout_settings::OrderSetting;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cli::{Again, PolicyFlags, Update};

/// A rollout to ask for. However often it is sent, it is one.
#[derive(Debug)]
pub(crate) struct Asked {
    path: Vec<String>,
    body: Map<String, Value>,
    key: Uuid,
}

impl Asked {
    /// An update.
    pub(crate) fn update(arguments: &Update) -> Self {
        let mut body = policy(&arguments.policy);
        if arguments.choice.all {
            body.insert("all".to_owned(), true.into());
        } else {
            let words = arguments.choice.on.iter().map(ToString::to_string);
            body.insert("on".to_owned(), words.collect());
        }
        if let Some(to) = &arguments.to {
            body.insert("to".to_owned(), to.to_string().into());
        }
        if let Some(message) = &arguments.message {
            body.insert("message".to_owned(), message.clone().into());
        }
        if arguments.force {
            body.insert("force".to_owned(), true.into());
        }
        Self::new(&["api", "updates", "trigger"], body)
    }

    /// A retry or rollback of an earlier rollout.
    pub(crate) fn again(kind: RolloutKind, source: RolloutId, arguments: &Again) -> Self {
        let mut body = policy(&arguments.policy);
        if let Some(message) = &arguments.message {
            body.insert("message".to_owned(), message.clone().into());
        }
        let verb = match kind {
            RolloutKind::Rollback => "rollback",
            _ => "retry",
        };
        let source = source.to_string();
        Self::new(&["api", "updates", "rollouts", &source, verb], body)
    }

    fn new(path: &[&str], body: Map<String, Value>) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            body,
            key: Uuid::now_v7(),
        }
    }

    pub(super) fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    pub(super) fn body(&self) -> Value {
        Value::Object(self.body.clone())
    }

    /// The same, only to see what would be done.
    pub(super) fn dry_run(&self) -> Value {
        let mut body = self.body.clone();
        body.insert("dry_run".to_owned(), true.into());
        Value::Object(body)
    }

    /// The same as it was looked at: to that commit, also when the branch has moved on since, in that order, also where it is
    /// random, and refused when by then it is another number of hosts.
    pub(crate) fn as_seen(&self, plan: &view::Plan) -> Self {
        let mut body = self.body.clone();
        if plan.kind == RolloutKind::Update
            && let Some(commit) = &plan.target.version
        {
            body.insert("to".to_owned(), commit.clone().into());
        }
        if let Some(seed) = &plan.seed {
            body.insert("seed".to_owned(), seed.clone().into());
        }
        body.insert("expect".to_owned(), json!({ "hosts": plan.hosts }));
        Self {
            path: self.path.clone(),
            body,
            key: self.key,
        }
    }

    pub(super) fn key(&self) -> Uuid {
        self.key
    }
}

fn policy(flags: &PolicyFlags) -> Map<String, Value> {
    let order = flags.order.map(|order| match order {
        OrderSetting::Name => "name",
        OrderSetting::Random => "random",
    });
    let said = [
        (
            "stages",
            flags.stages.as_ref().map(|stages| json!(stages.percents())),
        ),
        (
            "max_failure_percent",
            flags.max_failures.map(|percent| u32::from(percent).into()),
        ),
        ("concurrency", flags.concurrency.map(Value::from)),
        ("max_in_flight", flags.max_in_flight.map(Value::from)),
        (
            "settle_seconds",
            flags.settle.map(|settle| settle.0.as_secs_f64().into()),
        ),
        ("order", order.map(Value::from)),
    ];
    let said = said.into_iter();
    said.filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

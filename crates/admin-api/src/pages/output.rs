//! What the steps of one host of a rollout printed, as plain text from the first line kept to the last.

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use fleet_store::StepRecord;
use fleet_types::{StepId, printable, view};

use crate::api::hosts::host_name;
use crate::api::params::Params;
use crate::api::updates::find;
use crate::problem::Problem;
use crate::state::AdminApi;

/// Everything that is kept, or that of one step. Control characters are made visible, as everywhere.
pub(crate) async fn show(
    State(api): State<AdminApi>,
    Path((id, name)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let (rollout, name) = (find::rollout(&api, &id).await?, host_name(&name)?);
    let only: Option<StepId> = params.parsed("step")?;
    let host = api.store().host_view(&name, Some(rollout)).await?;
    let part = host.and_then(|host| host.attempt);
    if part.is_none_or(|attempt| attempt.rollout != rollout) {
        return Err(Problem::not_found(format!(
            "{name} has no part in this rollout"
        )));
    }
    let steps = api.store().attempt_steps(rollout, &name).await?;
    let wanted = steps
        .iter()
        .filter(|step| only.is_none_or(|only| step.step == only));
    let text: String = wanted.map(whole).collect();
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// A step and what it printed.
fn whole(step: &StepRecord) -> String {
    let output = &step.output;
    let kept = output.stdout.len() + output.stderr.len();
    let mut text = format!("=== {}, began {}", step.step, step.started_at);
    if let Some(exit) = output.exit {
        text.push_str(&format!(", exit code {exit}"));
    }
    if let Some((reason, message)) = &step.failed {
        text.push_str(&printable(&format!(", failed: {reason}: {message}")));
    }
    if let Some(days) = step.removed_after_days {
        let told = view::output_removed(days.get(), output.total_bytes);
        text.push_str(&format!(", {told}"));
    } else if output.total_bytes > kept as u64 {
        let total = output.total_bytes;
        text.push_str(&format!(", the last {kept} of {total} bytes were kept"));
    }
    text.push('\n');
    for (name, printed) in [("output", &output.stdout), ("errors", &output.stderr)] {
        if !printed.is_empty() {
            text.push_str(&format!("--- {name}\n{}", printable(printed)));
            if !printed.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    text
}

//! Which rollout is meant.

use fleet_types::{RolloutId, printable};

use crate::problem::Problem;
use crate::state::AdminApi;

/// So many of the latest rollouts are looked through for a short id.
const LOOKED_THROUGH: usize = 1000;
const PAGE: u32 = 200;

/// The rollout of this id, or the one of the latest whose shown id this is.
pub(crate) async fn rollout(api: &AdminApi, text: &str) -> Result<RolloutId, Problem> {
    if text.len() == 36
        && let Ok(id) = text.parse::<RolloutId>()
    {
        return match api.store().rollout_get(id).await? {
            Some(record) => Ok(record.id),
            None => Err(unknown(text)),
        };
    }
    let wanted = text.to_ascii_lowercase();
    if wanted.len() != 8 || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(unknown(text));
    }
    let mut found = Vec::new();
    let mut before = None;
    let mut seen = 0;
    while seen < LOOKED_THROUGH {
        let page = api.store().rollout_list(before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen += page.len();
        found.extend(
            page.iter()
                .map(|record| record.id)
                .filter(|id| id.short() == wanted),
        );
    }
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(unknown(text)),
        _ => Err(Problem::not_found(format!(
            "{} rollouts are shown as {wanted}; give the whole id",
            found.len()
        ))),
    }
}

fn unknown(text: &str) -> Problem {
    let shown: String = printable(text).chars().take(64).collect();
    Problem::not_found(format!("there is no rollout {shown}"))
}

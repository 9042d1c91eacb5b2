//! Which rollout is meant.

use fleet_types::RolloutId;
use rollout_orchestrator::find_rollout;

use crate::problem::Problem;
use crate::state::AdminApi;

/// The rollout of this id, or whose id begins with this.
pub(crate) async fn rollout(api: &AdminApi, text: &str) -> Result<RolloutId, Problem> {
    Ok(find_rollout(api.orchestrator().store().as_ref(), text).await?)
}

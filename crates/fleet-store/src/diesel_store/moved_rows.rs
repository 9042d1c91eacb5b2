//! Rows as they move from one database to another: all columns but those of work that is under way.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::*;

macro_rules! moved {
    ($($table:ident: $row:ident { $($column:ident: $kind:ty,)+ })+) => { $(
        #[derive(Debug, Queryable, Selectable, Insertable, Serialize, Deserialize)]
        #[diesel(table_name = $table, treat_none_as_default_value = false)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $row {
            $(pub(crate) $column: $kind,)+
        }
    )+ };
}

moved! {
    hosts: HostMoved {
        id: String,
        name: String,
        machine: String,
        repo: String,
        spec: String,
        labels: String,
        owner: Option<String>,
        host_keys: String,
        current_version: Option<String>,
        previous_version: Option<String>,
        needs_attention: bool,
        health: String,
        last_rollout: Option<String>,
        last_update_at: Option<i64>,
        lease_epoch: i64,
        added_at: i64,
        removed_at: Option<i64>,
    }
    rollouts: RolloutMoved {
        id: String,
        number: i64,
        kind: String,
        state: String,
        target: Option<String>,
        target_ref: String,
        policy: String,
        source: Option<String>,
        started_by: String,
        message: Option<String>,
        created_at: i64,
        finished_at: Option<i64>,
        stage: i64,
        reason: Option<String>,
        hosts: i64,
        forced: bool,
        outputs_removed_at: Option<i64>,
        outputs_removed_to: Option<i64>,
    }
    stages: StageMoved {
        rollout: String,
        position: i64,
        percent: i64,
        size: i64,
        state: String,
        updating: i64,
        updated: i64,
        unchanged: i64,
        failed: i64,
        rolled_back: i64,
        skipped: i64,
        blamed: i64,
    }
    attempts: AttemptMoved {
        rollout: String,
        host: String,
        position: i64,
        stage: i64,
        name: String,
        machine: String,
        status: String,
        reason: Option<String>,
        touched: bool,
        needs_attention: bool,
        progress: String,
        step: Option<String>,
        step_since: Option<i64>,
        step_deadline: Option<i64>,
        message: Option<String>,
        previous_version: Option<String>,
        target_version: Option<String>,
        from_version: Option<String>,
        takeovers: i64,
        steps: i64,
        started_at: Option<i64>,
        finished_at: Option<i64>,
    }
    attempt_specs: SpecMoved { rollout: String, host: String, spec: String, }
    steps: StepMoved {
        rollout: String,
        position: i64,
        number: i64,
        step: String,
        started_at: i64,
        finished_at: Option<i64>,
        duration_ms: Option<i64>,
        reason: Option<String>,
        message: Option<String>,
        output: Option<String>,
    }
    events: EventMoved {
        seq: i64,
        at: i64,
        kind: String,
        rollout: Option<String>,
        stage: Option<i64>,
        host: Option<String>,
        step: Option<String>,
        status: Option<String>,
        reason: Option<String>,
        message: Option<String>,
        from_version: Option<String>,
        to_version: Option<String>,
        duration_ms: Option<i64>,
        actor: Option<String>,
    }
    bad_versions: BadVersionMoved { version: String, rollout: String, at: i64, }
    users: UserMoved {
        name: String,
        role: String,
        password: Option<String>,
        created_at: i64,
        last_sign_in_at: Option<i64>,
        disabled_at: Option<i64>,
    }
    tokens: TokenMoved {
        id: String,
        name: String,
        role: String,
        secret: String,
        created_by: String,
        login: Option<String>,
        created_at: i64,
        expires_at: Option<i64>,
        last_used_at: Option<i64>,
        revoked_at: Option<i64>,
    }
    audit: AuditMoved {
        id: i64,
        at: i64,
        actor: String,
        source: String,
        action: String,
        subject: Option<String>,
        result: String,
        detail: Option<String>,
    }
    request_keys: RequestKeyMoved { request: String, fingerprint: String, rollout: String, at: i64, }
    health_checks: HealthCheckMoved {
        host: String,
        next_at: i64,
        checked_at: Option<i64>,
        message: Option<String>,
        since: Option<i64>,
    }
    health_restarts: HealthRestartMoved { host: String, epoch: i64, at: i64, }
}

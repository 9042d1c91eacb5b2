//! Numbers for Prometheus. No label ever holds the name of a host, a rollout, a person or a text of somebody else's.

pub(crate) mod checks;
pub(crate) mod feed;
pub(crate) mod fleet;
pub(crate) mod requests;
pub(crate) mod retention;
mod ssh;
mod store;

use anyhow::Context;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) use ssh::CountedTransport;
pub(crate) use store::CallTimes;

pub(crate) const CONNECTIONS: &str = "rollout_server_http_connections";
pub(crate) const CONNECTIONS_CUT: &str = "rollout_server_http_connections_cut_total";
const BUILD: &str = "rollout_server_build_info";
const REQUESTS: &str = "rollout_server_http_requests_total";
const REQUEST_TIME: &str = "rollout_server_http_request_duration_seconds";
const STREAMS: &str = "rollout_server_sse_clients";
const STREAMS_LAGGED: &str = "rollout_server_sse_lagged_total";
const ROLLOUTS: &str = "rollout_server_rollouts_total";
const ROLLOUT_ACTIVE: &str = "rollout_server_rollout_active";
const ROLLOUT_STAGE: &str = "rollout_server_rollout_stage";
const ROLLOUT_HOSTS: &str = "rollout_server_rollout_hosts";
const FAILURES_ALLOWED: &str = "rollout_server_rollout_failures_allowed";
const LAST_SUCCESS: &str = "rollout_server_last_success_timestamp_seconds";
const ROLLOUT_TIME: &str = "rollout_server_rollout_duration_seconds";
const HOSTS_STUCK: &str = "rollout_server_hosts_stuck";
const HOST_RESULTS: &str = "rollout_server_host_results_total";
const HOST_TIME: &str = "rollout_server_host_duration_seconds";
const STEP_TIME: &str = "rollout_server_step_duration_seconds";
const STEP_FAILURES: &str = "rollout_server_step_failures_total";
const HOSTS: &str = "rollout_server_hosts";
const HOSTS_BY_VERSION: &str = "rollout_server_hosts_by_version";
const HOSTS_ATTENTION: &str = "rollout_server_hosts_need_attention";
const HOSTS_UPDATING: &str = "rollout_server_hosts_updating";
const SEQ: &str = "rollout_server_events_seq";
const SSH_CONNECTS: &str = "rollout_server_ssh_connects_total";
const SSH_SESSIONS: &str = "rollout_server_ssh_sessions";
const HEALTH_CHECKS: &str = "rollout_server_health_checks_total";
const HEALTH_RESTARTS: &str = "rollout_server_health_restarts_total";
const OUTPUTS_REMOVED: &str = "rollout_server_step_outputs_removed_total";
const DB_TIME: &str = "rollout_server_db_query_duration_seconds";

/// Seconds of calls of the database, of requests, and of work on hosts.
const DB_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];
const REQUEST_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
const WORK_BUCKETS: &[f64] = &[0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

/// Begins to count.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(WORK_BUCKETS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(REQUEST_TIME.to_owned()), REQUEST_BUCKETS)
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(DB_TIME.to_owned()), DB_BUCKETS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .context("the numbers for Prometheus")?;
    describe();
    // From the start: whoever asks for an increase sees none in a series that begins with its first event.
    feed::begin();
    checks::begin();
    counter!(STREAMS_LAGGED).absolute(0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn describe() {
    describe_gauge!(BUILD, "Which program this is.");
    describe_counter!(REQUESTS, "Requests answered.");
    describe_histogram!(
        REQUEST_TIME,
        Unit::Seconds,
        "Time to the head of the answer."
    );
    describe_gauge!(CONNECTIONS, "Connections that are open.");
    describe_counter!(
        CONNECTIONS_CUT,
        "Idle connections that had to give way to others."
    );
    describe_gauge!(STREAMS, "Event streams that are open.");
    describe_counter!(
        STREAMS_LAGGED,
        "Event streams that were cut because their reader took nothing of what was sent for 30 s."
    );
    describe_counter!(ROLLOUTS, "Rollouts that ended while this process ran.");
    describe_histogram!(
        ROLLOUT_TIME,
        Unit::Seconds,
        "Time from a rollout's start to its end."
    );
    describe_gauge!(ROLLOUT_ACTIVE, "Whether a rollout is active.");
    describe_gauge!(
        ROLLOUT_STAGE,
        "Stage of the active rollout, from 1; 0 when there is none."
    );
    describe_gauge!(ROLLOUT_HOSTS, "Hosts of the active rollout by status.");
    describe_gauge!(
        FAILURES_ALLOWED,
        "How many more hosts may fail before the stage halts."
    );
    describe_gauge!(
        LAST_SUCCESS,
        Unit::Seconds,
        "When a rollout last went through without a failure."
    );
    describe_counter!(
        HOST_RESULTS,
        "Hosts that a rollout was done with while this process ran."
    );
    describe_histogram!(
        HOST_TIME,
        Unit::Seconds,
        "Time from a host's start to its end."
    );
    describe_histogram!(STEP_TIME, Unit::Seconds, "Time of one step.");
    describe_counter!(STEP_FAILURES, "Steps that failed.");
    describe_gauge!(HOSTS, "Hosts by what the health checker last saw.");
    describe_gauge!(HOSTS_ATTENTION, "Hosts that a person must look at.");
    describe_gauge!(HOSTS_UPDATING, "Hosts being worked on.");
    describe_gauge!(
        HOSTS_STUCK,
        "Hosts being worked on whose step is a minute past its limit, or whose rollout no live process works on."
    );
    describe_counter!(SEQ, "Number of the last event.");
    describe_counter!(
        SSH_CONNECTS,
        "SSH connections asked for, by what came of it."
    );
    describe_gauge!(SSH_SESSIONS, "SSH connections that are open.");
    describe_counter!(
        HEALTH_CHECKS,
        "Checks of services made by this process, by what came of them."
    );
    describe_counter!(
        HEALTH_RESTARTS,
        "Services started again by this process, by what they were after it."
    );
    describe_counter!(
        OUTPUTS_REMOVED,
        "Outputs of steps that this process removed because they were old."
    );
    describe_histogram!(
        DB_TIME,
        Unit::Seconds,
        "Time of one call of the database, with the wait for those before it."
    );
}

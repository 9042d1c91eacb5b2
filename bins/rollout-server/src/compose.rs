//! Puts the parts together.

use std::path::PathBuf;
use std::sync::Arc;

use admin_api::{AdminApi, AllowedHosts, ApiSettings, HostProcess};
use anyhow::Context;
use fleet_store::{
    AdminStore, DieselStore, Health, NewWorker, Outputs, ProcessId, SessionTimes, Store,
};
use fleet_types::WorkerId;
use metrics_exporter_prometheus::PrometheusHandle;
use rollout_orchestrator::{
    HealthSweeper, Orchestrator, OrchestratorSettings, Retention, SweepSettings, WorkMode, Worker,
};
use rollout_parts::{open_store, ssh_defaults, transport};
use rollout_settings::Settings;
use uuid::Uuid;

use crate::environment;
use crate::metrics::{CallTimes, CountedTransport, checks};
use crate::process::Process;

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Parts {
    pub settings: Settings,
    pub store: Arc<DieselStore>,
    pub process: Arc<Process>,
    pub sweeper: HealthSweeper,
    /// None where what steps printed is kept for ever.
    pub retention: Option<Retention>,
    pub api: AdminApi,
}

/// Opens the store, registers this process on it, and sets it to work.
pub(crate) async fn compose(
    settings: Settings,
    home: Option<PathBuf>,
    numbers: PrometheusHandle,
) -> anyhow::Result<Parts> {
    let store = open_store(&settings).await.context("the database")?;
    let store = Arc::new(store.timed_by(Arc::new(CallTimes)));
    let orchestrator_settings = OrchestratorSettings {
        concurrency: settings.rollout.concurrency,
        // Without it a busy rollout would keep services from being looked at until it is over.
        kept_for_checks: 1,
        ssh: ssh_defaults(&settings.ssh, home),
        ..OrchestratorSettings::default()
    };
    let orchestrator = Orchestrator::new(
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::new(CountedTransport::new(transport(&settings.ssh)?)),
        orchestrator_settings,
    );
    let worker = Worker::start(&orchestrator, this_worker(), WorkMode::All).await?;
    let sweeper = HealthSweeper::beside(
        &worker,
        &orchestrator,
        Arc::clone(&store) as Arc<dyn Health>,
        sweep_settings(&settings),
    )
    .telling(checks::count);
    let outputs = Arc::clone(&store) as Arc<dyn Outputs>;
    let kept = settings.history.output_days;
    let retention = kept.map(|days| Retention::new(outputs, days));
    let process = Arc::new(Process::new(
        worker,
        orchestrator.clone(),
        sweeper.clone(),
        &settings.database_url,
        numbers,
    ));
    let api = AdminApi::new(
        orchestrator,
        Arc::clone(&store) as Arc<dyn AdminStore>,
        Arc::clone(&process) as Arc<dyn HostProcess>,
        api_settings(&settings),
    );
    Ok(Parts {
        settings,
        store,
        process,
        sweeper,
        retention,
        api,
    })
}

fn this_worker() -> NewWorker {
    NewWorker {
        id: WorkerId(Uuid::now_v7()),
        label: format!("rollout-server on {}", environment::machine()),
        serves: true,
        process: ProcessId::current(),
    }
}

fn sweep_settings(settings: &Settings) -> SweepSettings {
    SweepSettings {
        every: settings.health.every,
        fix: settings.health.fix,
        settle: settings.rollout.settle,
        ..SweepSettings::default()
    }
}

fn api_settings(settings: &Settings) -> ApiSettings {
    let server = &settings.server;
    ApiSettings {
        allowed_hosts: AllowedHosts::Named(server.allowed_hosts.clone()),
        secure_cookies: server.secure_cookies,
        session_times: SessionTimes {
            idle: server.session_idle,
            absolute: server.session_absolute,
        },
        trusted_proxies: server.trusted_proxies.clone(),
        // Where the order is random, it is another one whenever the server was started.
        policy: settings.rollout.policy(Uuid::new_v4().as_u64_pair().1),
        max_in_flight: settings.chosen_in_flight(),
        app: settings.app.clone(),
        ssh_user: settings.ssh.user.clone(),
        ssh_port: settings.ssh.port,
        health_every: Some(settings.health.every),
        shown: settings.entries().to_vec(),
        ..ApiSettings::default()
    }
}

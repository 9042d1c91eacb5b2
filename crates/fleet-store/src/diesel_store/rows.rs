//! Rows as diesel sees them, and their conversion to records. A row that this program cannot understand is an error that
//! names the table, never a default.

use std::str::FromStr;

use diesel::prelude::*;
use fleet_types::{HostId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use super::history_rows::{EventRow, LeaseRow, StepRow, WorkerRow};
pub(crate) use super::rollout_rows::{AttemptRow, OwnedAttempt, RolloutRow, SpecRow, StageRow};
use super::schema::{attempts, bad_versions, drivers, hosts};
use super::work::Trouble;
use crate::records::*;

/// Reads a word of one of our closed lists, an id or a version.
pub(crate) fn word<T: FromStr>(table: &'static str, text: &str) -> Result<T, Trouble>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Trouble::Corrupt {
        table,
        cause: error.to_string(),
    })
}

pub(crate) fn word_opt<T: FromStr>(
    table: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Trouble>
where
    T::Err: std::fmt::Display,
{
    text.map(|text| word(table, text)).transpose()
}

pub(crate) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::Corrupt {
        table,
        cause: error.to_string(),
    })
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our records have string keys and finite numbers")
}

pub(crate) fn count(table: &'static str, number: i64) -> Result<u32, Trouble> {
    u32::try_from(number).map_err(|_| Trouble::Corrupt {
        table,
        cause: format!("{number} is no count"),
    })
}

/// The machine of a host as it is compared: one spelling for each address and port.
pub(crate) fn machine(spec: &HostSpec) -> String {
    let address = spec.address.as_str().to_ascii_lowercase();
    if address.contains(':') {
        format!("[{address}]:{}", spec.port)
    } else {
        format!("{address}:{}", spec.port)
    }
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = hosts, treat_none_as_default_value = false)]
pub(crate) struct HostRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) repo: String,
    pub(crate) spec: String,
    pub(crate) labels: String,
    pub(crate) owner: Option<String>,
    pub(crate) host_keys: String,
    pub(crate) current_version: Option<String>,
    pub(crate) previous_version: Option<String>,
    pub(crate) needs_attention: bool,
    pub(crate) health: String,
    pub(crate) last_rollout: Option<String>,
    pub(crate) last_update_at: Option<i64>,
    pub(crate) lease_worker: Option<String>,
    pub(crate) lease_machine: Option<String>,
    pub(crate) lease_purpose: Option<String>,
    pub(crate) lease_epoch: i64,
    pub(crate) added_at: i64,
    pub(crate) removed_at: Option<i64>,
}

impl HostRow {
    pub(crate) fn new(id: HostId, host: &NewHost, at: Timestamp) -> Self {
        Self {
            id: id.to_string(),
            name: host.name.to_string(),
            machine: machine(&host.spec),
            repo: host.spec.app.repo.to_string(),
            spec: to_json(&host.spec),
            labels: to_json(&host.labels),
            owner: host.owner.clone(),
            host_keys: "[]".to_owned(),
            current_version: None,
            previous_version: None,
            needs_attention: false,
            health: fleet_types::HealthState::Unknown.as_str().to_owned(),
            last_rollout: None,
            last_update_at: None,
            lease_worker: None,
            lease_machine: None,
            lease_purpose: None,
            lease_epoch: 0,
            added_at: at.0,
            removed_at: None,
        }
    }

    pub(crate) fn id(&self) -> Result<HostId, Trouble> {
        word("hosts", &self.id)
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, Trouble> {
        from_json("hosts", &self.host_keys)
    }

    /// `last` is the status and the target of its last attempt.
    pub(crate) fn record(&self, last: Option<&LastAttempt>) -> Result<HostRecord, Trouble> {
        let t = "hosts";
        Ok(HostRecord {
            id: self.id()?,
            name: word(t, &self.name)?,
            spec: from_json(t, &self.spec)?,
            labels: from_json(t, &self.labels)?,
            owner: self.owner.clone(),
            host_keys: self.keys()?,
            current_version: word_opt(t, self.current_version.as_deref())?,
            previous_version: word_opt(t, self.previous_version.as_deref())?,
            target_version: word_opt(t, last.and_then(|last| last.target.as_deref()))?,
            update_status: word_opt(t, last.map(|last| last.status.as_str()))?,
            needs_attention: self.needs_attention,
            last_update_at: self.last_update_at.map(Timestamp),
            health: word(t, &self.health)?,
        })
    }
}

/// What a host's entry shows of its last attempt.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = attempts)]
pub(crate) struct LastAttempt {
    pub(crate) status: String,
    #[diesel(column_name = target_version)]
    pub(crate) target: Option<String>,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = drivers, treat_none_as_default_value = false)]
pub(crate) struct DriverRow {
    pub(crate) rollout: String,
    pub(crate) worker: String,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = bad_versions, treat_none_as_default_value = false)]
pub(crate) struct BadVersionRow {
    pub(crate) version: String,
    pub(crate) rollout: String,
    pub(crate) at: i64,
}

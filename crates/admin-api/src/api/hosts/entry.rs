//! An entry of the inventory, as it is sent and as it is shown.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use fleet_store::{HostRecord, HostSpec, NewHost};
use fleet_types::{Address, AppSettings, HostName, Label, StepTimeouts, UserName};
use rollout_orchestrator::{EndpointError, SshDefaults, endpoint};
use rollout_settings::AppDefaults;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ssh_exec::Identity;
use utoipa::ToSchema;

use crate::api::body::{Fields, Said};
use crate::state::ApiSettings;

/// Names by which clouds hand out their secrets.
const METADATA_NAMES: [&str; 4] = [
    "metadata",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// A host to add, or what to change of one. `name` and `address` must be said when it is added.
#[derive(Deserialize, ToSchema)]
#[schema(as = HostEntry)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct EntryBody {
    name: Option<String>,
    /// DNS name or IP address.
    address: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    /// Private key file of the server; none means the configured default.
    key: Option<String>,
    /// Hosts to go through, outermost first: `user@address:port`.
    jump: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    owner: Option<String>,
    repo: Option<String>,
    remote: Option<String>,
    branch: Option<String>,
    service: Option<String>,
    install: Option<String>,
    verify: Option<String>,
    generated: Option<Vec<String>>,
    min_free_mib: Option<u32>,
    #[schema(value_type = Option<Object>)]
    timeouts: Option<StepTimeouts>,
}

/// Hosts to add.
#[derive(Deserialize, ToSchema)]
#[schema(as = HostImport)]
#[expect(
    dead_code,
    reason = "says what the body holds; it is read field by field"
)]
pub(crate) struct ImportBody {
    hosts: Vec<EntryBody>,
}

/// The host that a body means, for an entry that may be known. What is wrong is noted in `fields`.
pub(crate) fn read(
    fields: &mut Fields,
    known: Option<&HostRecord>,
    settings: &ApiSettings,
) -> Option<NewHost> {
    let was = known.map(|host| &host.spec);
    let name: Option<HostName> = must(fields, "name", known.map(|host| host.name.clone()));
    let address: Option<Address> = must(fields, "address", was.map(|spec| spec.address.clone()));
    if let Some(address) = &address {
        refuse_address(fields, address);
    }
    let port = or(fields, "port", was.map(|spec| spec.port), || {
        settings.ssh_port
    });
    if port == 0 {
        fields.wrong("port", "must be from 1 to 65535");
    }
    let user: Option<UserName> = or_none(fields, "user", was.map(|spec| spec.user.clone()))
        .or_else(|| settings.ssh_user.clone());
    if user.is_none() {
        fields.wrong("user", "is missing, and no default is configured");
    }
    let key = or_none(fields, "key", was.and_then(|spec| spec.key.clone()))
        .filter(|key: &String| !key.is_empty());
    if let Some(key) = &key {
        check_key(fields, key);
    }
    let jump = or(fields, "jump", was.map(|spec| spec.jump.clone()), Vec::new);
    check_jump(fields, &jump);
    let labels = or(
        fields,
        "labels",
        known.map(|host| host.labels.clone()),
        BTreeMap::new,
    );
    check_labels(fields, &labels);
    let owner = or_none(fields, "owner", known.and_then(|host| host.owner.clone()));
    let owner = owner
        .map(|owner: String| owner.trim().to_owned())
        .filter(|owner| !owner.is_empty());
    if owner
        .as_ref()
        .is_some_and(|owner| owner.len() > 200 || owner.chars().any(char::is_control))
    {
        fields.wrong("owner", "must be a name of at most 200 characters");
    }
    let app = app(fields, was.map(|spec| &spec.app), &settings.app)?;
    let spec = HostSpec {
        address: address?,
        port,
        user: user?,
        key,
        jump,
        app,
    };
    Some(NewHost {
        name: name?,
        spec,
        labels,
        owner,
    })
}

/// Refuses a host that could never be signed in to.
pub(crate) fn judge(host: &NewHost) -> Result<(), EndpointError> {
    // Whether there is any credential is asked when it is needed.
    let defaults = SshDefaults {
        identity: Some(Identity::Agent(PathBuf::new())),
        ..SshDefaults::default()
    };
    endpoint(&host.name, &host.spec, &[], &defaults).map(|_| ())
}

fn app(
    fields: &mut Fields,
    was: Option<&AppSettings>,
    defaults: &AppDefaults,
) -> Option<AppSettings> {
    let repo =
        or_none(fields, "repo", was.map(|app| app.repo.clone())).or_else(|| defaults.repo.clone());
    let service = or_none(fields, "service", was.map(|app| app.service.clone()))
        .or_else(|| defaults.service.clone());
    for (name, missing) in [("repo", repo.is_none()), ("service", service.is_none())] {
        if missing {
            fields.wrong(name, "is missing, and no default is configured");
        }
    }
    let verify = match fields.said("verify") {
        Said::Value(verify) => Some(verify),
        Said::Nothing => defaults.verify.clone(),
        Said::No => was.map_or_else(|| defaults.verify.clone(), |app| app.verify.clone()),
    };
    let verify = verify.filter(|command: &String| !command.is_empty());
    let app = AppSettings {
        remote: or(fields, "remote", was.map(|app| app.remote.clone()), || {
            defaults.remote.clone()
        }),
        branch: or(fields, "branch", was.map(|app| app.branch.clone()), || {
            defaults.branch.clone()
        }),
        install: or(
            fields,
            "install",
            was.map(|app| app.install.clone()),
            || defaults.install.clone(),
        ),
        verify,
        generated: or(
            fields,
            "generated",
            was.map(|app| app.generated.clone()),
            || defaults.generated.clone(),
        ),
        min_free_mib: or(
            fields,
            "min_free_mib",
            was.map(|app| app.min_free_mib),
            || defaults.min_free_mib,
        ),
        timeouts: or(fields, "timeouts", was.map(|app| app.timeouts), || {
            defaults.timeouts
        }),
        repo: repo?,
        service: service?,
    };
    if let Err(error) = app.check() {
        let field = match error.what {
            "install command" => "install",
            "verify command" => "verify",
            "generated file" => "generated",
            _ => "timeouts",
        };
        fields.wrong(field, error.to_string());
    }
    Some(app)
}

/// A value that has no default: it must be there, unless one is known.
fn must<T: DeserializeOwned>(fields: &mut Fields, name: &str, known: Option<T>) -> Option<T> {
    match known {
        Some(known) => fields.optional(name).or(Some(known)),
        None => fields.required(name),
    }
}

fn or<T: DeserializeOwned>(
    fields: &mut Fields,
    name: &str,
    known: Option<T>,
    default: impl FnOnce() -> T,
) -> T {
    match fields.said(name) {
        Said::Value(value) => value,
        Said::Nothing => default(),
        Said::No => known.unwrap_or_else(default),
    }
}

fn or_none<T: DeserializeOwned>(fields: &mut Fields, name: &str, known: Option<T>) -> Option<T> {
    match fields.said(name) {
        Said::Value(value) => Some(value),
        Said::Nothing => None,
        Said::No => known,
    }
}

/// Says at once what connecting would refuse anyway, after name resolution.
fn refuse_address(fields: &mut Fields, address: &Address) {
    let text = address.as_str();
    let refused = match text.parse::<IpAddr>() {
        Ok(ip) => ssh_exec::is_refused(ip),
        Err(_) => METADATA_NAMES.contains(&text.trim_end_matches('.')),
    };
    if refused {
        fields.wrong(
            "address",
            format!("{text} is a link-local or metadata address, which are refused"),
        );
    }
}

/// A relative path would mean another file with each way of starting the server.
fn check_key(fields: &mut Fields, key: &str) {
    let absolute = key.starts_with('/') || key.starts_with("~/");
    if !absolute || key.len() > 1000 || key.chars().any(char::is_control) {
        fields.wrong(
            "key",
            "must be the absolute path of a file, or start with ~/",
        );
    }
}

fn check_jump(fields: &mut Fields, jump: &[String]) {
    if jump.len() > 8 {
        fields.wrong("jump", "has at most 8 hosts");
    }
    for text in jump {
        if text.is_empty()
            || text.len() > 400
            || text.starts_with('-')
            || text.chars().any(|c| c.is_control() || c == ' ')
        {
            fields.wrong("jump", format!("{text:?} must be user@address:port"));
        }
    }
}

fn check_labels(fields: &mut Fields, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        let text = if value.is_empty() {
            key.clone()
        } else {
            format!("{key}={value}")
        };
        match text.parse::<Label>() {
            Ok(label) if label.key == *key => {}
            Ok(_) => fields.wrong("labels", format!("{key:?} may not hold '='")),
            Err(error) => fields.wrong("labels", error.to_string()),
        }
    }
}

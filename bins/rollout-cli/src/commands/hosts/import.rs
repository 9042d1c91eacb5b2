use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use fleet_store::NewHost;
use serde::Serialize;

use crate::cli::{ImportFormat, ImportHosts};
use crate::display::words::plural;
use crate::exit::Exit;
use crate::failure::{Failure, duplicate_repository};
use crate::fleet::Fleet;
use crate::fleet_file::{Placed, labels_text, read_csv, read_json, read_listed};
use crate::output::{Output, Paint};

/// `hosts import`
pub(crate) async fn run(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &ImportHosts,
) -> Result<Exit, Failure> {
    let placed = read(arguments)?;
    let known = fleet.enrolled().await?;
    let known: Vec<NewHost> = known.into_iter().map(|host| host.entry.into()).collect();
    let difference = compare(fleet, out, arguments, placed, &known).await?;
    difference.refuse_doubles(&arguments.file, &known)?;
    show(out, &difference)?;
    if arguments.dry_run || difference.is_empty() {
        out.say(if arguments.dry_run {
            "nothing was changed (--dry-run)"
        } else {
            "nothing to change"
        });
        return Ok(Exit::Done);
    }
    if !arguments.yes && out.can_ask() && !out.ask("Apply?") {
        out.say("nothing was changed");
        return Ok(Exit::Refused);
    }
    apply(fleet, difference).await?;
    let unpinned = fleet
        .enrolled()
        .await?
        .iter()
        .filter(|host| host.host_keys.is_empty())
        .count();
    if unpinned > 0 {
        out.say(format!("{unpinned} hosts have no pinned host key yet"));
        out.next(&[(
            "rollout-cli hosts trust".to_owned(),
            "fetch, compare and pin them",
        )]);
    } else {
        out.next(&[(
            "rollout-cli hosts check".to_owned(),
            "look whether an update would work",
        )]);
    }
    Ok(Exit::Done)
}

fn read(arguments: &ImportHosts) -> Result<Vec<Placed>, Failure> {
    let file = &arguments.file;
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| {
        Failure::refused(format!("{} cannot be read", file.display())).why(error)
    })?;
    let read = match arguments.format.or_else(|| format_of(file)) {
        Some(ImportFormat::Csv) => read_csv(&text),
        Some(ImportFormat::Json) => read_json(&text),
        Some(ImportFormat::Ansible) => read_listed(&text, host_lists::read_ansible),
        Some(ImportFormat::SshConfig) => read_listed(&text, host_lists::read_ssh_config),
        None => {
            let what = format!("the format of {} does not show in its name", file.display());
            return Err(Failure::usage(what).help("say --format csv, json, ansible or ssh-config"));
        }
    };
    read.map_err(|bad| {
        Failure::refused(format!(
            "{}, line {}: {}",
            file.display(),
            bad.line,
            bad.why
        ))
        .why("nothing was imported")
        .help("correct that line and run the command again")
    })
}

/// The format that a file's name tells of.
fn format_of(file: &Path) -> Option<ImportFormat> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match (file.file_name()?.to_str()?, extension) {
        (_, Some("csv")) => Some(ImportFormat::Csv),
        (_, Some("json")) => Some(ImportFormat::Json),
        (_, Some("ini" | "yml" | "yaml")) | ("hosts", None) => Some(ImportFormat::Ansible),
        ("config" | "ssh_config", None) => Some(ImportFormat::SshConfig),
        _ => None,
    }
}

/// What an import would do.
#[derive(Debug, Default)]
struct Difference {
    added: Vec<(String, NewHost)>,
    changed: Vec<(String, NewHost, NewHost, Vec<Change>)>,
    same: usize,
    others: usize,
}

/// One changed value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    field: &'static str,
    from: String,
    to: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            f,
            "{} {} → {}",
            self.field,
            shown(&self.from),
            shown(&self.to)
        )
    }
}

async fn compare(
    fleet: &dyn Fleet,
    out: Output,
    arguments: &ImportHosts,
    placed: Vec<Placed>,
    before: &[NewHost],
) -> Result<Difference, Failure> {
    let known: HashMap<&str, &NewHost> = before
        .iter()
        .map(|host| (host.name.as_str(), host))
        .collect();
    let defaults = fleet.defaults().await?;
    let base = base(fleet.key_folder(), &arguments.file);
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut difference = Difference::default();
    for Placed { place, entry } in placed {
        let bad = |why: String| bad_host(&arguments.file, &place, why);
        if let Some(before) = seen.insert(entry.name.to_string(), place.clone()) {
            return Err(bad(format!(
                "{} is there twice, in {before} already",
                entry.name
            )));
        }
        let was = known.get(entry.name.as_str()).copied();
        let host = entry
            .host(was, &defaults, base.as_deref())
            .map_err(|error| bad(error.to_string()))?;
        super::judge(fleet, out, &host).await?;
        match was {
            None => difference.added.push((place, host)),
            Some(was) => {
                let changed = changes(was, &host);
                if changed.is_empty() {
                    difference.same += 1;
                } else {
                    difference.changed.push((place, was.clone(), host, changed));
                }
            }
        }
    }
    difference.others = before
        .iter()
        .filter(|host| !seen.contains_key(host.name.as_str()))
        .count();
    Ok(difference)
}

fn bad_host(file: &Path, place: &str, why: String) -> Failure {
    Failure::refused(format!("{}, {place}: {why}", file.display()))
        .why("nothing was imported")
        .help("correct it and run the command again")
}

/// Keys in a file are named relative to the file.
fn base(here: Option<PathBuf>, file: &Path) -> Option<PathBuf> {
    let here = here?;
    match file.parent() {
        Some(parent) if file.as_os_str() != "-" => Some(here.join(parent)),
        _ => Some(here),
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty()
    }

    /// Looks for two entries with one repository before anything is written: what is written in several steps must not
    /// stop half-way for what could be known before.
    fn refuse_doubles(&self, file: &Path, fleet: &[NewHost]) -> Result<(), Failure> {
        let mut places: HashMap<(String, u16, String), String> = HashMap::new();
        let replaced: Vec<&str> = self
            .changed
            .iter()
            .map(|(_, record, ..)| record.name.as_str())
            .collect();
        let kept = fleet
            .iter()
            .filter(|host| !replaced.contains(&host.name.as_str()))
            .map(|host| ("the fleet", host));
        let changed = self
            .changed
            .iter()
            .map(|(line, _, host, _)| (line.as_str(), host));
        let added = self.added.iter().map(|(line, host)| (line.as_str(), host));
        for (line, NewHost { name, spec, .. }) in kept.chain(changed).chain(added) {
            let place = (
                spec.address.to_string(),
                spec.port,
                spec.app.repo.to_string(),
            );
            if let Some(other) = places.insert(place, name.to_string()) {
                let error = fleet_store::HostError::DuplicateRepository {
                    name: name.to_string(),
                    other: other.clone(),
                };
                let what = format!("{}, {line}: {error}", file.display());
                return Err(duplicate_repository(&what, &other));
            }
        }
        Ok(())
    }
}

/// What differs between an entry of the fleet and its new content.
pub(crate) fn changes(known: &NewHost, host: &NewHost) -> Vec<Change> {
    let (was, is) = (&known.spec, &host.spec);
    let pairs = [
        ("name", known.name.to_string(), host.name.to_string()),
        ("address", was.address.to_string(), is.address.to_string()),
        ("port", was.port.to_string(), is.port.to_string()),
        ("user", was.user.to_string(), is.user.to_string()),
        (
            "key",
            was.key.clone().unwrap_or_default(),
            is.key.clone().unwrap_or_default(),
        ),
        ("jump", was.jump.join(" "), is.jump.join(" ")),
        (
            "labels",
            labels_text(&known.labels),
            labels_text(&host.labels),
        ),
        (
            "owner",
            known.owner.clone().unwrap_or_default(),
            host.owner.clone().unwrap_or_default(),
        ),
        ("repo", was.app.repo.to_string(), is.app.repo.to_string()),
        (
            "remote",
            was.app.remote.to_string(),
            is.app.remote.to_string(),
        ),
        (
            "branch",
            was.app.branch.to_string(),
            is.app.branch.to_string(),
        ),
        (
            "service",
            was.app.service.to_string(),
            is.app.service.to_string(),
        ),
        ("install", was.app.install.clone(), is.app.install.clone()),
        (
            "verify",
            was.app.verify.clone().unwrap_or_default(),
            is.app.verify.clone().unwrap_or_default(),
        ),
        (
            "generated",
            was.app.generated.join(" "),
            is.app.generated.join(" "),
        ),
        (
            "min_free_mib",
            was.app.min_free_mib.to_string(),
            is.app.min_free_mib.to_string(),
        ),
        (
            "timeouts",
            format!("{:?}", was.app.timeouts),
            format!("{:?}", is.app.timeouts),
        ),
    ];
    let differs = |(field, from, to): (&'static str, String, String)| {
        (from != to).then_some(Change { field, from, to })
    };
    pairs.into_iter().filter_map(differs).collect()
}

fn show(out: Output, difference: &Difference) -> Result<(), Failure> {
    let Difference {
        added,
        changed,
        same,
        others,
    } = difference;
    if out.json {
        let changed: Vec<_> = changed
            .iter()
            .map(|(_, record, _, changes)| serde_json::json!({ "name": record.name, "changes": changes }))
            .collect();
        let added: Vec<_> = added.iter().map(|(_, host)| &host.name).collect();
        let shown = serde_json::json!({ "added": added, "changed": changed, "unchanged": same, "not_in_file": others });
        return out.object(&shown);
    }
    for (_, host) in added {
        let spec = &host.spec;
        let place = format!("{}@{}:{}", spec.user, spec.address, spec.port);
        out.line(format!("{} {}   {place}", Paint::Green.on("+"), host.name))?;
    }
    for (_, record, _, changes) in changed {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        out.line(format!(
            "{} {}   {}",
            Paint::Yellow.on("~"),
            record.name,
            changes.join(", ")
        ))?;
    }
    out.line(format!(
        "+ {} new   ~ {} changed   = {same} same   {} not in the file, kept",
        added.len(),
        changed.len(),
        plural(u32::try_from(*others).unwrap_or(u32::MAX), "host"),
    ))
}

/// Changes first, for one may free the place that a new host takes. Each is one transaction; new hosts are one together.
async fn apply(fleet: &dyn Fleet, difference: Difference) -> Result<(), Failure> {
    let total = difference.changed.len();
    for (done, (_, record, host, _)) in difference.changed.into_iter().enumerate() {
        fleet.edit(&record.name, host).await.map_err(|failure| {
            if done == 0 {
                failure
            } else {
                failure.why(format!(
                    "{done} of {total} changes were made before, no host was added"
                ))
            }
        })?;
    }
    let added: Vec<NewHost> = difference.added.into_iter().map(|(_, host)| host).collect();
    if !added.is_empty() {
        fleet.add(added).await?;
    }
    Ok(())
}

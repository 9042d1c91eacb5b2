//! `cargo xtask msrv`: no dependency asks for a newer Rust than the workspace promises to build with.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::metadata;
use crate::process;
use crate::version::Version;

/// Prints which dependencies ask for the newest Rust; fails when that is newer than the workspace's own.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("msrv takes no arguments, not {argument:?}");
    }
    let host = host_target()?;
    let metadata = metadata::read(&["--all-features", "--filter-platform", &host])?;
    let floor = workspace_floor(&metadata)?;
    let demands = demands(&metadata)?;
    let Some((highest, asking)) = demands.last_key_value() else {
        println!("xtask msrv: the workspace states {floor}; no dependency states anything");
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "xtask msrv: the workspace states {floor}; the most asked for is {highest}, by {}",
        asking.join(", ")
    );
    let too_new: Vec<_> = demands
        .range(floor..)
        .filter(|(version, _)| **version > floor)
        .collect();
    for (version, asking) in &too_new {
        println!(
            "xtask msrv: {version} is above {floor}, asked for by {}",
            asking.join(", ")
        );
    }
    Ok(if too_new.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn host_target() -> anyhow::Result<String> {
    let text = process::read(process::command("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The lowest `rust-version` that a crate of the workspace states. Every one must state one.
fn workspace_floor(metadata: &Value) -> anyhow::Result<Version> {
    let members = members(metadata)?;
    let mut floor: Option<Version> = None;
    for package in metadata::list(metadata, "packages")? {
        if members.contains(metadata::text(package, "id")?) {
            let name = metadata::text(package, "name")?;
            let stated =
                rust_version(package)?.with_context(|| format!("{name} states no rust-version"))?;
            floor = Some(floor.map_or(stated, |lowest| lowest.min(stated)));
        }
    }
    floor.context("the workspace has no crate")
}

fn members(metadata: &Value) -> anyhow::Result<BTreeSet<&str>> {
    Ok(metadata::list(metadata, "workspace_members")?
        .iter()
        .filter_map(Value::as_str)
        .collect())
}

fn rust_version(package: &Value) -> anyhow::Result<Option<Version>> {
    let Some(text) = package["rust_version"].as_str() else {
        return Ok(None);
    };
    let version = Version::parse(text)
        .with_context(|| format!("{} states the rust-version {text:?}", package["name"]))?;
    Ok(Some(version))
}

/// What the dependencies state, lowest first, with the names and versions of those that state it.
fn demands(metadata: &Value) -> anyhow::Result<BTreeMap<Version, Vec<String>>> {
    let built = built_packages(metadata)?;
    let members = members(metadata)?;
    let mut demands: BTreeMap<Version, Vec<String>> = BTreeMap::new();
    for package in metadata::list(metadata, "packages")? {
        let id = metadata::text(package, "id")?;
        if !built.contains(id) || members.contains(id) {
            continue;
        }
        if let Some(version) = rust_version(package)? {
            let name = format!(
                "{} {}",
                metadata::text(package, "name")?,
                metadata::text(package, "version")?
            );
            demands.entry(version).or_default().push(name);
        }
    }
    Ok(demands)
}

/// The ids of all packages that a build of the workspace compiles, its tests aside.
fn built_packages(metadata: &Value) -> anyhow::Result<BTreeSet<&str>> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata::list(&metadata["resolve"], "nodes")? {
        let mut needed = Vec::new();
        for dependency in metadata::list(node, "deps")? {
            let kinds = metadata::list(dependency, "dep_kinds")?;
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                needed.push(metadata::text(dependency, "pkg")?);
            }
        }
        edges.insert(metadata::text(node, "id")?, needed);
    }
    let mut built = BTreeSet::new();
    let mut waiting: Vec<&str> = members(metadata)?.into_iter().collect();
    while let Some(id) = waiting.pop() {
        if built.insert(id) {
            waiting.extend(edges.get(id).into_iter().flatten());
        }
    }
    Ok(built)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::{demands, workspace_floor};

    fn package(name: &str, rust_version: Option<&str>) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "rust_version": rust_version})
    }

    fn node(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let list = dependencies
            .iter()
            .map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]}));
        json!({"id": name, "deps": list.collect::<Vec<_>>()})
    }

    fn workspace() -> Value {
        json!({
            "workspace_members": ["ours", "ours-too"],
            "packages": [
                package("ours", Some("1.89")),
                package("ours-too", Some("1.88")),
                package("direct", Some("1.85.1")),
                package("far", Some("1.90")),
                package("silent", None),
                package("for-build-scripts", Some("1.85.1")),
                package("for-tests", Some("1.99")),
                package("elsewhere", Some("1.98")),
            ],
            "resolve": {"nodes": [
                node("ours", &[("direct", None), ("for-build-scripts", Some("build")), ("for-tests", Some("dev"))]),
                node("ours-too", &[("ours", None), ("silent", None)]),
                node("direct", &[("far", None)]),
                node("far", &[("direct", None)]),
                node("silent", &[]),
                node("for-build-scripts", &[]),
                node("for-tests", &[]),
                node("elsewhere", &[]),
            ]},
        })
    }

    #[test]
    fn only_what_a_build_compiles_makes_demands() {
        let demands = demands(&workspace()).unwrap();
        let found: Vec<_> = demands
            .iter()
            .map(|(version, names)| (version.to_string(), names.join(", ")))
            .collect();
        let expected = [
            ("1.85.1", "direct 1.0.0, for-build-scripts 1.0.0"),
            ("1.90", "far 1.0.0"),
        ];
        assert_eq!(
            found,
            expected.map(|(version, names)| (version.to_owned(), names.to_owned()))
        );
    }

    #[test]
    fn the_floor_is_the_lowest_of_our_own() {
        assert_eq!(workspace_floor(&workspace()).unwrap().to_string(), "1.88");
    }

    #[test]
    fn a_crate_of_ours_that_states_nothing_is_an_error() {
        let mut metadata = workspace();
        metadata["packages"][0]["rust_version"] = Value::Null;
        let error = workspace_floor(&metadata).unwrap_err();
        assert_eq!(error.to_string(), "ours states no rust-version");
    }
}

//! `cargo xtask graph`: who may depend on whom inside the workspace.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::metadata;
use crate::process;

/// Where the allowed arrows are written down, from the workspace's root.
const FILE: &str = "docs/graph.txt";
/// What the file opens with; lines with `#` say nothing about arrows.
const HEADER: &str = "\
# Which crate of this workspace may depend on which. `cargo xtask graph` compares this list with
# what the manifests say and fails when they differ; a new arrow is a line to argue for in review.
# `cargo xtask graph --write` brings the list up to date.
#   a -> b  a is built with b, optional or not
#   a ~> b  only the tests, examples and benchmarks of a are
";

/// Compares the arrows with the file, or writes the file.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let write = match arguments {
        [] => false,
        [argument] if argument == "--write" => true,
        _ => bail!("graph takes --write or nothing"),
    };
    let metadata = metadata::read(&["--no-deps"])?;
    let actual = arrows(&metadata)?;
    let path = process::workspace_root()?.join(FILE);
    if write {
        fs::write(&path, render(&actual)).with_context(|| format!("could not write {FILE}"))?;
        println!("xtask graph: wrote {} arrows to {FILE}", actual.len());
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {FILE}"))?;
    let difference = difference(&parse(&text), &actual);
    if difference.is_empty() {
        println!("xtask graph: {} arrows, as in {FILE}", actual.len());
        return Ok(ExitCode::SUCCESS);
    }
    for line in difference {
        println!("{line}");
    }
    println!(
        "xtask graph: {FILE} differs; if these arrows are meant, run cargo xtask graph --write"
    );
    Ok(ExitCode::FAILURE)
}

/// Every arrow between two crates of the workspace, as lines of the file. A crate that is needed both
/// to build and to test is an arrow of the first kind alone.
fn arrows(metadata: &Value) -> anyhow::Result<BTreeSet<String>> {
    let (mut built, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for package in metadata::list(metadata, "packages")? {
        let from = metadata::text(package, "name")?;
        for dependency in metadata::list(package, "dependencies")? {
            // Only crates of this workspace are named by a path.
            if dependency["path"].is_null() {
                continue;
            }
            let arrow = (from, metadata::text(dependency, "name")?);
            // A crate names itself to switch features on for its own tests.
            if arrow.0 == arrow.1 {
                continue;
            }
            match dependency["kind"].as_str() {
                Some("dev") => tested.insert(arrow),
                _ => built.insert(arrow),
            };
        }
    }
    let line = |(from, to): &(&str, &str), sign: &str| format!("{from} {sign} {to}");
    let only_tested = tested.difference(&built).map(|arrow| line(arrow, "~>"));
    Ok(built
        .iter()
        .map(|arrow| line(arrow, "->"))
        .chain(only_tested)
        .collect())
}

fn render(arrows: &BTreeSet<String>) -> String {
    let mut text = HEADER.to_owned();
    for sign in [" -> ", " ~> "] {
        text.push('\n');
        for arrow in arrows.iter().filter(|arrow| arrow.contains(sign)) {
            text.push_str(arrow);
            text.push('\n');
        }
    }
    text
}

/// The arrows of a file, whatever the spaces in its lines.
fn parse(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

/// One line for each arrow that is only in the manifests (`+`) or only in the file (`-`).
fn difference(allowed: &BTreeSet<String>, actual: &BTreeSet<String>) -> Vec<String> {
    let new = actual.difference(allowed).map(|arrow| format!("+ {arrow}"));
    let gone = allowed.difference(actual).map(|arrow| format!("- {arrow}"));
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::{arrows, difference, parse, render};

    #[test]
    fn arrows_come_from_path_dependencies() {
        let metadata = json!({"packages": [
            {"name": "engine", "dependencies": [
                {"name": "types", "path": "/w/types", "kind": null},
                {"name": "serde", "kind": null},
                {"name": "ssh", "path": "/w/ssh", "kind": null},
                {"name": "ssh", "path": "/w/ssh", "kind": "dev"},
                {"name": "testkit", "path": "/w/testkit", "kind": "dev"},
                {"name": "engine", "path": "/w/engine", "kind": "dev"},
                {"name": "codegen", "path": "/w/codegen", "kind": "build"},
            ]},
            {"name": "types", "dependencies": []},
        ]});
        let found: Vec<_> = arrows(&metadata).unwrap().into_iter().collect();
        let expected = [
            "engine -> codegen",
            "engine -> ssh",
            "engine -> types",
            "engine ~> testkit",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn metadata_of_another_shape_is_an_error() {
        assert!(arrows(&json!({})).is_err());
        assert!(arrows(&json!({"packages": [{"name": "engine"}]})).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let arrows = parse("a -> b\nb -> c\na ~> z\n");
        assert_eq!(arrows.len(), 3);
        assert_eq!(parse(&render(&arrows)), arrows);
    }

    #[test]
    fn differences_name_each_arrow() {
        for (file, actual, expected) in [
            ("a -> b", "a -> b", vec![]),
            ("# why\n\n  a   ->  b # because\n", "a -> b", vec![]),
            ("a -> b", "a -> b\na -> c", vec!["+ a -> c"]),
            ("a -> b\nb -> c", "b -> c", vec!["- a -> b"]),
            // A crate that was only tested with another is now built with it: a new arrow.
            ("a ~> b", "a -> b", vec!["+ a -> b", "- a ~> b"]),
            ("", "b -> a", vec!["+ b -> a"]),
        ] {
            assert_eq!(difference(&parse(file), &parse(actual)), expected, "{file}");
        }
    }
}

//! What `cargo metadata` tells.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process;

/// Runs `cargo metadata` with further arguments.
pub(crate) fn read(arguments: &[&str]) -> anyhow::Result<Value> {
    let text = process::read(
        process::cargo()
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(arguments),
    )?;
    serde_json::from_str(&text).context("could not read what cargo metadata wrote")
}

/// The elements of a field that is a list.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a [Value]> {
    let Some(list) = value[field].as_array() else {
        bail!("cargo metadata has no list {field:?}");
    };
    Ok(list)
}

/// A field that is a string.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("cargo metadata has no text {field:?}"))
}

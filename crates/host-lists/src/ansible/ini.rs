//! The INI form: `[group]`, `[group:children]`, `[group:vars]`, and a host a line.

use std::collections::HashSet;

use super::{Inventory, say};
use crate::listed::BadLine;
use crate::said::Said;

pub(super) fn read(text: &str) -> Result<Inventory, BadLine> {
    let mut inventory = Inventory::default();
    let (mut group, mut kind) = ("ungrouped", "");
    let mut declared = HashSet::from(["all", "ungrouped"]);
    // Groups that must be declared somewhere in the file.
    let mut spoken_of: Vec<(&str, usize)> = Vec::new();
    for (before, text) in text.lines().enumerate() {
        let line = before + 1;
        let bad = |why: &str| BadLine::new(line, why);
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = section(text) {
            (group, kind) = section.rsplit_once(':').unwrap_or((section, ""));
            match kind {
                "vars" => spoken_of.push((group, line)),
                "" | "children" => {
                    declared.insert(group);
                }
                _ => return Err(bad("must be [group], [group:children] or [group:vars]")),
            }
            inventory.group(group, line)?;
            continue;
        }
        match kind {
            "vars" => {
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| bad("is no name=value"))?;
                let said = &mut inventory.group(group, line)?.said;
                say(said, name.trim(), literal(value.trim()), line)?;
            }
            "children" => {
                let child = text.split('#').next().unwrap_or_default().trim();
                spoken_of.push((child, line));
                inventory
                    .group(child, line)?
                    .parents
                    .insert(group.to_owned());
            }
            _ => {
                if hides_its_end(text) {
                    let why = "a # within a word hides the rest of the line from Ansible; quote the value, or put a space \
                               before the comment";
                    return Err(bad(why));
                }
                let words = shlex::split(text).ok_or_else(|| bad("a quote is not closed"))?;
                let Some((pattern, variables)) = words.split_first() else {
                    continue;
                };
                let mut own = Said::default();
                for word in variables {
                    let (name, value) = word
                        .split_once('=')
                        .ok_or_else(|| bad("after the host there may be name=value only"))?;
                    say(&mut own, name, literal(value), line)?;
                }
                inventory.name_hosts(pattern, group, &own, line)?;
            }
        }
    }
    match spoken_of
        .iter()
        .find(|(group, _)| !declared.contains(group))
    {
        Some((group, line)) => Err(BadLine::new(*line, format!("there is no group {group:?}"))),
        None => Ok(inventory),
    }
}

/// What stands in the brackets of a section's heading.
fn section(text: &str) -> Option<&str> {
    let (section, after) = text.strip_prefix('[')?.split_once(']')?;
    let after = after.trim_start();
    (after.is_empty() || after.starts_with('#')).then_some(section)
}

/// Whether a comment begins within a word.
fn hides_its_end(text: &str) -> bool {
    let (mut quote, mut within) = (None, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('#', None) => return within,
            ('\\', None | Some('"')) => {
                letters.next();
            }
            (_, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            _ => {}
        }
        within = quote.is_some() || !letter.is_whitespace();
    }
    false
}

/// The text that a value means: quotes around all of it are not part of it. Where there is a comment in it depends on what
/// stands before.
fn literal(value: &str) -> Result<&str, &'static str> {
    if value.contains('#') {
        return Err("a # in a value may begin a comment for Ansible; say it without");
    }
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    Ok(within('"').or_else(|| within('\'')).unwrap_or(value))
}

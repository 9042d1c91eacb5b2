//! Lists that other tools keep.

use host_lists::ListedHost;

use super::entry::{Entry, Said};
use super::{BadLine, Placed};

/// How such a list is read.
type Listing = fn(&str) -> Result<Vec<ListedHost>, host_lists::BadLine>;

/// Reads every host, or says which line is bad.
pub(crate) fn read_listed(text: &str, read: Listing) -> Result<Vec<Placed>, BadLine> {
    let hosts = read(text).map_err(|bad| BadLine {
        line: bad.line,
        why: bad.why,
    })?;
    let placed = |host: ListedHost| Placed {
        place: format!("line {}", host.line),
        entry: entry(host),
    };
    Ok(hosts.into_iter().map(placed).collect())
}

fn entry(host: ListedHost) -> Entry {
    Entry {
        port: said(host.port),
        user: said(host.user),
        key: said(host.key),
        jump: said(host.jump),
        groups: host.groups,
        ..Entry::new(host.name, host.address)
    }
}

fn said<T>(value: Option<T>) -> Said<T> {
    value.map_or(Said::No, Said::Value)
}

//! The comma-separated form: a heading, then one host a line.

use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord, Trim};
use fleet_types::view::HostEntry;
use fleet_types::{harmless_cell, text_of_cell};

use super::entry::{Entry, Said, labels, labels_text};
use super::{BadLine, Placed};

const COLUMNS: &[&str] = &[
    "name", "address", "port", "user", "key", "labels", "owner", "repo", "branch", "service",
    "install", "verify",
];

/// Reads every line, or says which one is bad.
pub(crate) fn read_csv(text: &str) -> Result<Vec<Placed>, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .comment(Some(b'#'))
        .flexible(true)
        .from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|error| bad(&error))?.clone();
    check_heading(&heading)?;
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad(&error))?;
        let begin = record.position().map_or(0, |position| position.byte());
        let line = line_at(text, usize::try_from(begin).unwrap_or(usize::MAX));
        let entry = Row {
            heading: &heading,
            record: &record,
        }
        .entry()
        .map_err(|why| BadLine { line, why })?;
        entries.push(Placed {
            place: format!("line {line}"),
            entry,
        });
    }
    Ok(entries)
}

/// The line of a record that the reader found from this byte on: it passes over empty lines and comments first.
fn line_at(text: &str, begin: usize) -> usize {
    let before = text
        .as_bytes()
        .iter()
        .take(begin)
        .filter(|byte| **byte == b'\n')
        .count();
    let rest = text.get(begin..).unwrap_or_default();
    let passed = rest
        .lines()
        .take_while(|line| line.trim_end().is_empty() || line.starts_with('#'))
        .count();
    before + passed + 1
}

fn check_heading(heading: &StringRecord) -> Result<(), BadLine> {
    let refuse = |why: String| Err(BadLine { line: 1, why });
    if let Some(unknown) = heading.iter().find(|name| !COLUMNS.contains(name)) {
        return refuse(format!(
            "there is no column {unknown:?}; the columns are {}",
            COLUMNS.join(",")
        ));
    }
    for needed in ["name", "address"] {
        if !heading.iter().any(|name| name == needed) {
            return refuse(format!(
                "the heading has no column {needed}; it is name,address,port,user[,key,labels,owner]"
            ));
        }
    }
    for (at, name) in heading.iter().enumerate() {
        if heading.iter().skip(at + 1).any(|other| other == name) {
            return refuse(format!("the column {name} is there twice"));
        }
    }
    Ok(())
}

fn bad(error: &csv::Error) -> BadLine {
    let line = error
        .position()
        .map_or(1, |position| usize::try_from(position.line()).unwrap_or(1));
    BadLine {
        line,
        why: error.to_string(),
    }
}

struct Row<'a> {
    heading: &'a StringRecord,
    record: &'a StringRecord,
}

impl Row<'_> {
    fn entry(&self) -> Result<Entry, String> {
        if self.record.len() != self.heading.len() {
            return Err(format!(
                "has {} fields, the heading has {}",
                self.record.len(),
                self.heading.len()
            ));
        }
        let name = self.needed("name")?;
        let address = self.needed("address")?;
        Ok(Entry {
            port: match self.parsed::<u16>("port") {
                Ok(Said::Value(0)) | Err(_) => {
                    return Err(format!(
                        "port {:?} is not from 1 to 65535",
                        self.cell("port")
                    ));
                }
                Ok(port) => port,
            },
            user: self.parsed("user")?,
            key: self.parsed("key")?,
            labels: match self.cell("labels") {
                None => Said::No,
                Some("") => Said::Nothing,
                Some(text) => Said::Value(labels(text).map_err(|error| error.to_string())?),
            },
            owner: self.parsed("owner")?,
            repo: self.parsed("repo")?,
            branch: self.parsed("branch")?,
            service: self.parsed("service")?,
            install: self.parsed("install")?,
            verify: self.parsed("verify")?,
            ..Entry::new(name, Some(address))
        })
    }

    fn cell(&self, column: &str) -> Option<&str> {
        let at = self.heading.iter().position(|name| name == column)?;
        self.record.get(at).map(text_of_cell)
    }

    fn needed<T: FromStr<Err: ToString>>(&self, column: &str) -> Result<T, String> {
        let text = self.cell(column).unwrap_or_default();
        text.parse().map_err(|error: T::Err| error.to_string())
    }

    fn parsed<T: FromStr<Err: ToString>>(&self, column: &str) -> Result<Said<T>, String> {
        match self.cell(column) {
            None => Ok(Said::No),
            Some("") => Ok(Said::Nothing),
            Some(text) => text
                .parse()
                .map(Said::Value)
                .map_err(|error: T::Err| error.to_string()),
        }
    }
}

/// Writes hosts so that reading them again gives the same.
pub(crate) fn write_csv(hosts: &[HostEntry]) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for host in hosts {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let cells = [
            host.name.to_string(),
            host.address.to_string(),
            host.port.to_string(),
            host.user.to_string(),
            text(&host.key),
            labels_text(&host.labels),
            text(&host.owner),
            host.repo.to_string(),
            host.branch.to_string(),
            host.service.to_string(),
            host.install.clone(),
            text(&host.verify),
        ];
        writer.write_record(cells.map(|cell| harmless_cell(&cell)))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, line, word) in [
            ("name,address\na,10.0.0.1\nb,10.0.0.999\n", 3, "address"),
            ("name,address,port\na,10.0.0.1,0\n", 2, "port"),
            ("name,address,port\na,10.0.0.1,x\n", 2, "port"),
            ("name,address\n# why\n\na,10.0.0.1\nb\n", 5, "fields"),
            ("name,address\n\n# why\n\nb\n", 5, "fields"),
            ("name,address\r\n\r\nb\r\n", 3, "fields"),
            ("name,address\n\"x\n\",h\n\nb\n", 5, "fields"),
            (
                "name,address,branch\na,10.0.0.1,--upload-pack=x\n",
                2,
                "option",
            ),
            ("name,address,labels\na,10.0.0.1,k=v;b ad\n", 2, "label"),
            ("name,address,colour\na,10.0.0.1,red\n", 1, "colour"),
            ("name,port\na,22\n", 1, "address"),
            ("name,address,name\na,10.0.0.1,b\n", 1, "twice"),
            ("name,address\n\"a\nb\",10.0.0.1\n", 2, "host name"),
        ] {
            let error = read_csv(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(error.why.contains(word), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn no_cell_is_a_formula_for_a_spreadsheet_and_each_is_read_as_it_was() {
        let app = |text: &str| format!("name,address,owner,verify\nweb,10.0.0.1,{text},{text}\n");
        for (cell, meant) in [
            ("'=cmd()", "=cmd()"),
            ("=cmd()", "=cmd()"),
            ("''-x", "'-x"),
            ("'quoted'", "'quoted'"),
        ] {
            let entries = read_csv(&app(cell)).unwrap();
            assert_eq!(entries[0].entry.owner, Said::Value(meant.to_owned()));
        }
    }

    #[test]
    fn a_missing_column_is_not_an_empty_cell() {
        let entries =
            read_csv("\u{feff}name, address ,port,labels\na, 10.0.0.1 ,,k=v;eu\n").unwrap();
        let entry = &entries[0].entry;
        assert_eq!(entries[0].place, "line 2");
        assert_eq!(entry.address, "10.0.0.1".parse().ok());
        assert_eq!(entry.port, Said::Nothing);
        assert_eq!(entry.user, Said::No);
        let labels = [
            ("eu".to_owned(), String::new()),
            ("k".to_owned(), "v".to_owned()),
        ];
        assert_eq!(entry.labels, Said::Value(labels.into()));
    }
}

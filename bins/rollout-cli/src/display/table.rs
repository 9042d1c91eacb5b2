//! Columns under a heading.

use std::fmt::Write as _;

/// Rows of text in columns as wide as their widest cell. Colour codes in a cell take no room.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// Takes the whole line and no part in the widths.
    Text(String),
}

impl Row {
    fn cells(&self) -> &[String] {
        match self {
            Self::Cells(cells) => cells,
            Self::Text(_) => &[],
        }
    }
}

impl Table {
    /// A table with this heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![Row::Cells(
                heading.iter().map(|cell| (*cell).to_owned()).collect(),
            )],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line that is no row.
    pub(crate) fn text(&mut self, text: String) {
        self.rows.push(Row::Text(text));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self
            .rows
            .iter()
            .map(|row| row.cells().len())
            .max()
            .unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|at| {
                self.rows
                    .iter()
                    .filter_map(|row| row.cells().get(at))
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            if let Row::Text(text) = row {
                writeln!(f, "{text}")?;
                continue;
            }
            let mut line = String::new();
            for (cell, wide) in row.cells().iter().zip(&widths) {
                let fill = wide - width(cell);
                write!(line, "{cell}{:fill$}  ", "")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// How many columns the text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .count()
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::output::Paint;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let mut table = Table::new(&["A", "BB"]);
        table.row(vec![Paint::Red.on("✗ long"), "x".into()]);
        table.text("a long line that is no row".into());
        table.row(vec!["y".into(), String::new()]);
        let shown = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(
            shown,
            "A       BB\n✗ long  x\na long line that is no row\ny\n"
        );
    }
}

/// What a spreadsheet takes for the beginning of a formula.
const ACTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Text for a cell of a comma-separated file, so that a spreadsheet shows it and does not run it: an apostrophe goes
/// in front of what would begin a formula. [`text_of_cell`] takes it away again.
#[must_use]
pub fn harmless_cell(text: &str) -> String {
    if text.trim_start_matches('\'').starts_with(ACTS) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// The text that [`harmless_cell`] made this of; what it did not change stays.
#[must_use]
pub fn text_of_cell(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if text.trim_start_matches('\'').starts_with(ACTS) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_a_formula_is_text_and_comes_back_as_it_was() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("'=1", "''=1"),
            ("''-", "'''-"),
            ("'quoted' words", "'quoted' words"),
            ("a=b", "a=b"),
            ("'", "'"),
            ("", ""),
        ] {
            assert_eq!(harmless_cell(text), cell);
            assert_eq!(text_of_cell(cell), text);
        }
    }
}

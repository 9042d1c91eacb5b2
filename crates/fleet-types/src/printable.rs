/// Shows text from outside so that it cannot act: control characters, bidirectional overrides and other invisible
/// format characters become `\x1b`-like escapes; newline and tab stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => {
                shown.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                shown.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_can_act_stays() {
        for (input, shown) in [
            ("plain äöü ✓\n\tx", "plain äöü ✓\n\tx"),
            ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("cr\rlf", "cr\\x0dlf"),
            ("nul\0", "nul\\x00"),
            ("c1\u{9b}31m", "c1\\x9b31m"),
        ] {
            assert_eq!(printable(input), shown);
        }
    }
}

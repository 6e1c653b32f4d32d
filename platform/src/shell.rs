//! Words of command lines that people are to paste.

/// A word as a POSIX shell reads it.
pub fn posix_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@+%#[]".contains(c);
    // A '#' begins a comment only at the beginning of a word.
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('#') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word as the shells of this system read it: on Windows both the command prompt and PowerShell,
/// for which paths have no quotes in them.
pub fn word(text: &str) -> String {
    if cfg!(not(windows)) {
        return posix_word(text);
    }
    let is_plain = |c: char| c.is_alphanumeric() || r"-_=/\.:+#~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('#') {
        return text.to_owned();
    }
    // Programs take \" for a quote of the text: a folder ends in a slash instead.
    let text = text.strip_suffix('\\').map_or_else(|| text.to_owned(), |cut| format!("{cut}/"));
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_shell_would_read_otherwise_is_quoted() {
        for (text, expected) in [
            ("--config=/etc/a_b.conf", "--config=/etc/a_b.conf"),
            ("rsyncs://joe@host:873/m/#sha256=ab", "rsyncs://joe@host:873/m/#sha256=ab"),
            ("", "''"),
            ("#x", "'#x'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(posix_word(text), expected);
        }
        let quote = if cfg!(windows) { '"' } else { '\'' };
        assert_eq!(word("/a b"), format!("{quote}/a b{quote}"));
    }

    #[cfg(windows)]
    #[test]
    fn a_folder_at_the_end_leaves_its_quotes_alone() {
        assert_eq!(word(r"C:\a b\"), r#""C:\a b/""#);
        assert_eq!(word(r"C:\ab\"), r"C:\ab\");
    }
}

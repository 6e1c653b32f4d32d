//! Cuts a configuration file into statements, as rsyncd cuts it: comments, continuation lines,
//! section headers, `NAME = VALUE`, `&include` and `&merge`.

use std::path::PathBuf;
use std::sync::Arc;

use super::{ConfigError, Place};

/// The longest logical line, continuation lines included, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// One statement with the line on which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Where it starts.
    pub place: Place,
    /// What it says.
    pub kind: StatementKind,
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementKind {
    /// `[NAME]`, with inner whitespace made single spaces.
    Section(String),
    /// `NAME = VALUE`, as written but trimmed.
    Parameter {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// `&include PATH`: a file of its own.
    Include(PathBuf),
    /// `&merge PATH`: text that stands here.
    Merge(PathBuf),
}

/// Cuts `text` into statements. A line that makes no sense is a problem of its own; the others
/// are still returned.
pub fn statements(text: &[u8], file: &Arc<str>, problems: &mut Vec<ConfigError>) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').zip(1u32..);
    while let Some((line, number)) = lines.next() {
        let place = Place { file: Arc::clone(file), line: number };
        let mut line = line.trim_ascii_start().to_vec();
        // Comments are not continued.
        if matches!(line.first(), None | Some(b'#' | b';')) {
            continue;
        }
        while let Some(cut) = continuation(&line) {
            line.truncate(cut);
            match lines.next() {
                Some((more, _)) if line.len() + more.len() <= LONGEST_LINE => {
                    line.extend_from_slice(more);
                }
                Some(_) => {
                    problems.push(place.error("the line is longer than 1 MiB"));
                    break;
                }
                None => break,
            }
        }
        match statement(&line) {
            Ok(kind) => found.push(Statement { place, kind }),
            Err(text) => problems.push(place.error(text)),
        }
    }
    found
}

/// Where the backslash is that continues this line, if one does; blanks may follow it.
fn continuation(line: &[u8]) -> Option<usize> {
    line.trim_ascii_end().strip_suffix(b"\\").map(<[u8]>::len)
}

fn statement(line: &[u8]) -> Result<StatementKind, String> {
    let line = std::str::from_utf8(line)
        .map_err(|_| "the line is not UTF-8; save the file as UTF-8".to_owned())?
        .trim();
    if line.contains('\0') {
        return Err("the line contains a NUL byte".to_owned());
    }
    if let Some(header) = line.strip_prefix('[') {
        return section(header);
    }
    if let Some(directive) = line.strip_prefix('&') {
        return self::directive(directive);
    }
    let Some((name, value)) = line.split_once('=') else {
        return Err(format!("\"{}\" is neither NAME = VALUE nor [MODULE]", shorten(line)));
    };
    if name.trim().is_empty() {
        return Err("there is no parameter name before the equals sign".to_owned());
    }
    Ok(StatementKind::Parameter { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

fn section(header: &str) -> Result<StatementKind, String> {
    let Some((name, rest)) = header.split_once(']') else {
        return Err(format!("[{} has no closing bracket", shorten(header)));
    };
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with(['#', ';']) {
        return Err(format!(
            "there is text after the closing bracket of [{}]; a module name cannot contain ]",
            shorten(name)
        ));
    }
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return Err("the module name between [ and ] is empty".to_owned());
    }
    if name.contains('/') {
        return Err(format!(
            "the module name [{}] contains a slash, which no client could ask for",
            shorten(&name)
        ));
    }
    if name.starts_with('#') || name.chars().any(char::is_control) {
        return Err(format!(
            "the module name [{}] starts with # or contains a control character",
            shorten(&name)
        ));
    }
    Ok(StatementKind::Section(name))
}

fn directive(text: &str) -> Result<StatementKind, String> {
    let (word, path) =
        text.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((text, ""));
    let path = path.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim();
    let wrap = match word {
        "include" => StatementKind::Include,
        "merge" => StatementKind::Merge,
        _ => {
            return Err(format!(
                "&{} is unknown; the directives are &include and &merge",
                shorten(word)
            ));
        }
    };
    if path.is_empty() {
        return Err(format!("&{word} needs a file or directory"));
    }
    Ok(wrap(bascule_platform::paths::native(path)))
}

/// Makes a piece of the file fit for a message.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(u32, StatementKind)>, Vec<String>) {
        let mut problems = Vec::new();
        let found = statements(text.as_bytes(), &Arc::from("f"), &mut problems);
        (
            found.into_iter().map(|s| (s.place.line, s.kind)).collect(),
            problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn parameter(name: &str, value: &str) -> StatementKind {
        StatementKind::Parameter { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn reads_sections_parameters_and_comments() {
        let (found, problems) = read(
            "# a comment \\\n; another\n\n  read only =  yes = no # kept \r\n[ a \t b ] # note\nx=\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            found,
            [
                (4, parameter("read only", "yes = no # kept")),
                (5, StatementKind::Section("a b".to_owned())),
                (6, parameter("x", "")),
            ]
        );
    }

    #[test]
    fn joins_continued_lines_and_keeps_the_first_line_number() {
        let (found, problems) = read("a = one \\ \n  two\\\nthree\nb = 4 \\");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(found, [(1, parameter("a", "one   twothree")), (4, parameter("b", "4"))]);
    }

    #[test]
    fn reads_directives() {
        let (found, problems) = read("&include /etc/a b\n&merge=/x\n&other /y\n&include\n");
        assert_eq!(
            found,
            [
                (1, StatementKind::Include(PathBuf::from("/etc/a b"))),
                (2, StatementKind::Merge(PathBuf::from("/x"))),
            ]
        );
        assert_eq!(
            problems,
            [
                "f:3: &other is unknown; the directives are &include and &merge",
                "f:4: &include needs a file or directory",
            ]
        );
    }

    #[test]
    fn names_the_line_of_every_malformed_line() {
        for (text, problem) in [
            ("nonsense", "f:1: \"nonsense\" is neither NAME = VALUE nor [MODULE]"),
            ("\n=x", "f:2: there is no parameter name before the equals sign"),
            ("[x", "f:1: [x has no closing bracket"),
            ("[ ]", "f:1: the module name between [ and ] is empty"),
            ("[a/b]", "f:1: the module name [a/b] contains a slash, which no client could ask for"),
            (
                "[a]b]",
                "f:1: there is text after the closing bracket of [a]; a module name cannot contain ]",
            ),
            (
                "[#list]",
                "f:1: the module name [#list] starts with # or contains a control character",
            ),
        ] {
            let (found, problems) = read(text);
            assert_eq!(found, [], "{text}");
            assert_eq!(problems, [problem], "{text}");
        }
    }

    #[test]
    fn refuses_text_that_is_not_utf8() {
        let mut problems = Vec::new();
        let text = b"# \xff is fine here\npath = /\xff\n";
        assert_eq!(statements(text, &Arc::from("f"), &mut problems), []);
        assert_eq!(problems[0].to_string(), "f:2: the line is not UTF-8; save the file as UTF-8");
    }
}

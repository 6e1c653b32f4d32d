//! A module's own filter: `filter`, `include from`, `include`, `exclude from`, `exclude`, in this
//! order, as one list of rules in rsync's user form.

use std::fs::File;
use std::io::Read as _;

use bascule_platform::text;
use bascule_wire::shown;

use crate::config::Rules;

/// The largest rule file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// How deep merge files may name each other.
const DEEPEST_MERGE: usize = 16;
/// Rules with a long name, and whether a pattern follows.
const WORDS: [(&str, bool); 9] = [
    ("include", true),
    ("exclude", true),
    ("hide", true),
    ("show", true),
    ("protect", true),
    ("risk", true),
    ("merge", true),
    ("dir-merge", true),
    ("clear", false),
];

/// Collects a module's rules. `expand` resolves `%VAR%`.
///
/// # Errors
/// Which file cannot be read, or which rule makes no sense.
pub fn collect(rules: &Rules, expand: &dyn Fn(&str) -> String) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    let text = |field: &Option<String>| field.as_deref().map(expand);
    if let Some(list) = text(&rules.filter) {
        words_as_rules(list.as_bytes(), &mut found, 0)?;
    }
    if let Some(file) = text(&rules.include_from) {
        lines_as_patterns(&read(&file)?, b'+', &mut found);
    }
    if let Some(list) = text(&rules.include) {
        words_as_patterns(list.as_bytes(), b'+', &mut found);
    }
    if let Some(file) = text(&rules.exclude_from) {
        lines_as_patterns(&read(&file)?, b'-', &mut found);
    }
    if let Some(list) = text(&rules.exclude) {
        words_as_patterns(list.as_bytes(), b'-', &mut found);
    }
    Ok(found)
}

/// Patterns between blanks; a lone `+` or `-` tells what the next one is.
fn words_as_patterns(text: &[u8], kind: u8, found: &mut Vec<Vec<u8>>) {
    let mut words = words(text);
    while let Some(word) = words.next() {
        match word {
            b"+" | b"-" => {
                if let Some(pattern) = words.next() {
                    found.push(rule(word[0], pattern));
                }
            }
            b"!" => found.push(b"!".to_vec()),
            pattern => found.push(rule(kind, pattern)),
        }
    }
}

/// One pattern a line; `#` and `;` start comments, `+ ` and `- ` tell what the pattern is.
fn lines_as_patterns(text: &[u8], kind: u8, found: &mut Vec<Vec<u8>>) {
    for line in lines(text) {
        match line {
            b"!" => found.push(b"!".to_vec()),
            [sign @ (b'+' | b'-'), b' ', pattern @ ..] => found.push(rule(*sign, pattern)),
            pattern => found.push(rule(kind, pattern)),
        }
    }
}

/// Whole rules between blanks. The blank within `- pattern` does not end a rule.
fn words_as_rules(text: &[u8], found: &mut Vec<Vec<u8>>, depth: usize) -> Result<(), String> {
    let mut words = words(text);
    while let Some(word) = words.next() {
        let mut text = word.to_vec();
        if awaits_pattern(word) {
            let Some(pattern) = words.next() else {
                return Err(format!("the filter rule \"{}\" has no pattern", shown(word)));
            };
            text.push(b' ');
            text.extend_from_slice(pattern);
        }
        add_rule(text, found, depth)?;
    }
    Ok(())
}

/// Adds a rule; the rules of a merge file stand in its place.
fn add_rule(text: Vec<u8>, found: &mut Vec<Vec<u8>>, depth: usize) -> Result<(), String> {
    let Some((modifiers, file)) = merge(&text) else {
        found.push(text);
        return Ok(());
    };
    if depth >= DEEPEST_MERGE {
        return Err(format!("the merge file {} is nested too deep", shown(file)));
    }
    let file = std::str::from_utf8(file)
        .map_err(|_| format!("the merge file {} is not UTF-8", shown(file)))?;
    let content = read(file)?;
    let known = |modifier: &u8| matches!(modifier, b'+' | b'-' | b'w' | b',');
    if let Some(other) = modifiers.iter().find(|modifier| !known(modifier)) {
        return Err(format!(
            "the modifier \"{}\" of the merge file {file} is not supported yet",
            other.escape_ascii()
        ));
    }
    let sign = modifiers.iter().copied().find(|m| matches!(m, b'+' | b'-'));
    let split = modifiers.contains(&b'w');
    match (sign, split) {
        (Some(sign), true) => words_as_patterns(&content, sign, found),
        (Some(sign), false) => lines_as_patterns(&content, sign, found),
        (None, true) => words_as_rules(&content, found, depth + 1)?,
        (None, false) => {
            for line in lines(&content) {
                add_rule(line.to_vec(), found, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// The modifiers and the file of a `. FILE` or `merge FILE` rule.
fn merge(rule: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rule.strip_prefix(b"merge".as_slice()).or_else(|| rule.strip_prefix(b"."))?;
    let blank = rest.iter().position(|byte| matches!(byte, b' ' | b'_'))?;
    let (modifiers, file) = (&rest[..blank], &rest[blank + 1..]);
    let is_modifier = |byte: &u8| *byte == b',' || is_modifier(*byte);
    modifiers.iter().all(is_modifier).then_some((modifiers, file))
}

/// Whether a word is only the head of a rule.
fn awaits_pattern(word: &[u8]) -> bool {
    for (name, takes) in WORDS {
        if let Some(rest) = word.strip_prefix(name.as_bytes())
            && (rest.is_empty() || rest[0] == b',')
        {
            return takes && rest.iter().all(|byte| *byte == b',' || is_modifier(*byte));
        }
    }
    match word {
        [b'-' | b'+' | b':' | b'.' | b'H' | b'S' | b'P' | b'R', rest @ ..] => {
            rest.iter().all(|byte| *byte == b',' || is_modifier(*byte))
        }
        _ => false,
    }
}

fn is_modifier(byte: u8) -> bool {
    b"/!Csrpxnwe+-".contains(&byte)
}

fn rule(kind: u8, pattern: &[u8]) -> Vec<u8> {
    [&[kind, b' '], pattern].concat()
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !matches!(line.first(), None | Some(b'#' | b';')))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    let path = bascule_platform::paths::native(file);
    if !path.is_absolute() {
        return Err(format!("the rule file {file} must be an absolute path"));
    }
    let mut text = Vec::new();
    File::open(&path)
        .and_then(|open| open.take(LARGEST_FILE + 1).read_to_end(&mut text))
        .map_err(|error| format!("cannot read the rule file {file}: {error}"))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(format!("the rule file {file} is larger than 16 MiB"));
    }
    let text = text::unmarked(&text).map_err(|error| format!("the rule file {file}: {error}"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(rules: &Rules) -> Vec<String> {
        collect(rules, &str::to_owned)
            .expect("good rules")
            .into_iter()
            .map(|rule| String::from_utf8(rule).expect("text"))
            .collect()
    }

    #[test]
    fn the_parameters_come_in_rsyncds_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("write");
            Some(path.display().to_string())
        };
        let rules = Rules {
            exclude: Some("*.o + keep.o /secret/*** !".to_owned()),
            exclude_from: write("ef", "# c\n; c\n\na b\r\n+ inc\n!\n"),
            include: Some("*.c - not.c".to_owned()),
            include_from: write("if", "one\n- two\n"),
            filter: Some("- /foo  - /bar +r_x P z".to_owned()),
            ..Rules::default()
        };
        assert_eq!(
            texts(&rules),
            [
                "- /foo",
                "- /bar",
                "+r_x",
                "P z",
                "+ one",
                "- two",
                "+ *.c",
                "- not.c",
                "- a b",
                "+ inc",
                "!",
                "- *.o",
                "+ keep.o",
                "- /secret/***",
                "!",
            ]
        );
    }

    #[test]
    fn merge_files_stand_where_they_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("rules");
        std::fs::write(&file, "- a\nexclude b c\n").expect("write");
        let name = file.display();
        let filter = |text: String| Rules { filter: Some(text), ..Rules::default() };
        assert_eq!(
            texts(&filter(format!("- x . {name} dir-merge,n .f clear merge,- {name}"))),
            ["- x", "- a", "exclude b c", "dir-merge,n .f", "clear", "- a", "- exclude b c"]
        );
        std::fs::write(&file, format!(". {name}\n")).expect("write");
        let endless = collect(&filter(format!(". {name}")), &str::to_owned);
        assert!(endless.expect_err("endless").ends_with("is nested too deep"));
    }

    #[test]
    fn problems_name_the_file_or_rule() {
        let problem = |rules: Rules| collect(&rules, &str::to_owned).expect_err("a problem");
        assert_eq!(
            problem(Rules { filter: Some("- a -".to_owned()), ..Rules::default() }),
            "the filter rule \"-\" has no pattern"
        );
        let gone = std::env::temp_dir().join("none/such").display().to_string();
        assert!(
            problem(Rules { exclude_from: Some(gone.clone()), ..Rules::default() })
                .starts_with(&format!("cannot read the rule file {gone}:"))
        );
        assert_eq!(
            problem(Rules { exclude_from: Some("such".to_owned()), ..Rules::default() }),
            "the rule file such must be an absolute path"
        );
    }
}

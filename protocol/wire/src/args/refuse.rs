//! `refuse options` of a module: which option of a client it does not want.

use super::ServerCommand;

/// The first option of `command` that `patterns` refuse, as the user knows it. Patterns are long
/// names or single letters, with `*` for anything; `!` in front allows again; the last match
/// counts.
pub fn refused_option(patterns: &[String], command: &ServerCommand) -> Option<String> {
    // Needed by the conversation itself: no pattern with a wildcard refuses them.
    const ESSENTIAL: [&str; 3] = ["log-format", "secluded-args", "dry-run"];
    command.used.iter().copied().find_map(|name| {
        let mut refused = false;
        for pattern in patterns {
            let (allows, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, &pattern[..]),
            };
            let names_it = pattern == name
                || letter_of(name).is_some_and(|letter| pattern == letter)
                || (pattern == "delete" && name.starts_with("delete-"))
                || (pattern == "compress" && name.ends_with("-compress"));
            let is_wild = pattern.contains(['*', '?', '[']);
            let matches = names_it
                || (is_wild
                    && !ESSENTIAL.contains(&name)
                    && glob(pattern.as_bytes(), name.as_bytes()));
            if matches {
                refused = !allows;
            }
        }
        refused.then(|| format!("--{name}"))
    })
}

fn letter_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "compress" => "z",
        "checksum" => "c",
        "recursive" => "r",
        "links" => "l",
        "hard-links" => "H",
        "owner" => "o",
        "group" => "g",
        "devices" => "D",
        "times" => "t",
        "perms" => "p",
        "whole-file" => "W",
        "update" => "u",
        "sparse" => "S",
        "verbose" => "v",
        "dry-run" => "n",
        _ => return None,
    })
}

/// `*` and `?` only: option names have no other use for wildcards.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pattern {
        if *piece == b'*' {
            let mut on = false;
            for slot in &mut reached {
                on |= *slot;
                *slot = on;
            }
            continue;
        }
        for at in (0..text.len()).rev() {
            reached[at + 1] = reached[at] && (*piece == b'?' || *piece == text[at]);
        }
        reached[0] = false;
    }
    reached[text.len()]
}

//! Backslashes in option arguments and the module's name in path arguments (§2.7).

use super::table::{self, Action};

/// The characters that a client escapes in option arguments.
const ACTIVE: &[u8] = b"!\"#$&'()*;<>?[\\]`{|} \t\n";

/// Puts a backslash before each character that a shell would act on, as clients since 3.2.4 do.
pub(super) fn escape_option(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value {
        if ACTIVE.contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// Takes one level of backslashes off the arguments before the `.`; the paths after it keep
/// theirs for the wildcards. Not for secluded arguments, which have none.
pub fn unescape_options(arguments: &mut [Vec<u8>]) {
    let mut is_value = false;
    for argument in arguments {
        if !is_value && argument == b"." {
            return;
        }
        *argument = unescape_option(argument);
        is_value = !is_value && takes_next(argument);
    }
}

/// Whether the next argument is this option's value, even if it is a `.`.
fn takes_next(argument: &[u8]) -> bool {
    let row = match argument {
        [b'-', b'-', name @ ..] => std::str::from_utf8(name).ok().and_then(table::by_long),
        [b'-', .., letter] => {
            let earlier = argument.get(1..argument.len() - 1).unwrap_or_default();
            let value_began = earlier.iter().any(|&letter| {
                let row = table::by_short(letter);
                row.is_some_and(|row| matches!(row.action, Action::Value(_)))
            });
            table::by_short(*letter).filter(|_| !value_began)
        }
        _ => None,
    };
    row.is_some_and(|row| matches!(row.action, Action::Value(_)))
}

/// Removes one level of backslashes. A last, lone backslash stays.
fn unescape_option(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(bytes.next().copied().unwrap_or(b'\\')),
            _ => plain.push(byte),
        }
    }
    plain
}

/// Takes the leading `module/` off each path argument; what remains is relative to the module,
/// and empty for its root. An argument without that prefix stays whole.
pub fn strip_module(paths: &mut [Vec<u8>], module: &[u8]) {
    for path in paths {
        let rest = match path.strip_prefix(module) {
            Some([]) => Some(Vec::new()),
            Some([b'/', rest @ ..]) => Some(rest.to_vec()),
            _ => None,
        };
        if let Some(rest) = rest {
            *path = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn escapes_are_those_of_a_stock_client() {
        assert_eq!(
            escape_option(b"!\"#$%&()*+,-./:;<=>?@[]^_`{|}~\\ x'"),
            br#"\!\"\#\$%\&\(\)\*+,-./:\;\<=\>\?@\[\]^_\`\{\|\}~\\\ x\'"#
        );
        assert_eq!(unescape_option(br"a\\\ b\"), br"a\ b\");
    }

    #[test]
    fn only_options_lose_their_backslashes() {
        let mut arguments =
            list(&["--temp-dir", ".", "-T", ".", "-B.", r"--info=a\*", ".", r"m/\*"]);
        unescape_options(&mut arguments);
        let expected = list(&["--temp-dir", ".", "-T", ".", "-B.", "--info=a*", ".", r"m/\*"]);
        assert_eq!(arguments, expected);
    }

    #[test]
    fn the_module_is_stripped_only_as_a_whole_name() {
        let mut paths = list(&["mod/", "mod", "mod/a/b", "mod//etc", "module/a"]);
        strip_module(&mut paths, b"mod");
        assert_eq!(paths, list(&["", "", "a/b", "/etc", "module/a"]));
    }

    proptest::proptest! {
        #[test]
        fn every_value_survives(value: Vec<u8>) {
            assert_eq!(unescape_option(&escape_option(&value)), value);
        }
    }
}

//! Backslashes in option arguments and the module's name in path arguments (§2.7).

/// The characters that a client escapes in option arguments.
const ACTIVE: &[u8] = b"!\"#$&'()*;<>?[\\]`{|} \t\n";

/// Puts a backslash before each character that a shell would act on, as clients since 3.2.4 do.
pub fn escape_option(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value {
        if ACTIVE.contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// Removes one level of backslashes. A last, lone backslash stays.
pub fn unescape_option(value: &[u8]) -> Vec<u8> {
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

/// Removes the leading `module/` of a path argument; the rest is relative to the module and
/// empty for its root. An argument without that prefix comes back whole.
pub fn strip_module<'a>(argument: &'a [u8], module: &[u8]) -> &'a [u8] {
    match argument.strip_prefix(module) {
        Some([]) => &[],
        Some([b'/', rest @ ..]) => rest,
        _ => argument,
    }
}

/// The paths of one argument of a client before protocol 30, which may put several into one,
/// each with the module's name: `mod/a mod/b`. Newer clients need only [`strip_module`].
pub fn split_module_paths<'a>(argument: &'a [u8], module: &[u8]) -> Vec<&'a [u8]> {
    let border = [b" ", module, b"/"].concat();
    let mut rest = strip_module(argument, module);
    let mut paths = Vec::new();
    while let Some(at) = rest
        .windows(border.len())
        .position(|window| window == border)
    {
        let (path, more) = rest.split_at(at);
        paths.push(path);
        rest = more.get(border.len()..).unwrap_or_default();
    }
    paths.push(rest);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_a_stock_client() {
        assert_eq!(
            escape_option(b"!\"#$%&()*+,-./:;<=>?@[]^_`{|}~\\ x'"),
            br#"\!\"\#\$%\&\(\)\*+,-./:\;\<=\>\?@\[\]^_\`\{\|\}~\\\ x\'"#
        );
        assert_eq!(unescape_option(br"a\\\ b\"), br"a\ b\");
    }

    #[test]
    fn the_module_is_stripped_only_as_a_whole_name() {
        for (argument, path) in [
            (&b"mod/"[..], &b""[..]),
            (b"mod", b""),
            (b"mod/a/b", b"a/b"),
            (b"mod//etc", b"/etc"),
            (b"module/a", b"module/a"),
        ] {
            assert_eq!(strip_module(argument, b"mod"), path);
        }
        assert_eq!(
            split_module_paths(b"mod/a b mod/c mod/", b"mod"),
            [&b"a b"[..], b"c", b""]
        );
    }

    proptest::proptest! {
        #[test]
        fn every_value_survives(value: Vec<u8>) {
            assert_eq!(unescape_option(&escape_option(&value)), value);
        }
    }
}

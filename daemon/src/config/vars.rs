//! `%VAR%` references in parameter values.

/// Replaces `%NAME%` by what `lookup` gives and `%%` by `%`. A name that is unknown stays as it
/// is written: an empty string in a path could name something very different.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        let (before, from) = rest.split_at(percent);
        out.push_str(before);
        let after = &from[1..];
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let reference = after
            .find('%')
            .map(|end| (&after[..end], &after[end + 1..]))
            .filter(|(name, _)| is_name(name));
        match reference.and_then(|(name, after)| Some((lookup(name)?, after))) {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The variables of this process; those that are not UTF-8 count as missing.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_known_names_only() {
        let lookup = |name: &str| (name == "A_1").then(|| "%x".to_owned());
        for (text, expanded) in [
            ("plain", "plain"),
            ("/a/%A_1%/b", "/a/%x/b"),
            ("%A_1%%A_1%", "%x%x"),
            ("%B%", "%B%"),
            ("%B%A_1%", "%B%x"),
            ("100%", "100%"),
            ("%%A_1%%", "%A_1%"),
            ("%a b%", "%a b%"),
            ("%", "%"),
            ("%%%", "%%"),
            ("ü%A_1%ü", "ü%xü"),
        ] {
            assert_eq!(expand(text, &lookup), expanded, "{text}");
        }
    }
}

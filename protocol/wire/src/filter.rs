//! Filter rules as they travel (§7); matching is the engine's.

use bytes::BytesMut;

use crate::args::Direction;
use crate::decode::{Decode, decode_with};
use crate::error::WireError;
use crate::limits::{MAX_RULE, MAX_RULES_BYTES, RULE_OVERHEAD};
use crate::options::Options;
use crate::shown;
use crate::varint::PutWire as _;
use crate::version::Version;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// Leaves matching names out.
    Exclude,
    /// Takes matching names in.
    Include,
    /// Reads further rules from a file of this name in each directory.
    DirMerge,
    /// Reads further rules from a file, once. The reader of a command line expands it.
    Merge,
    /// Forgets the rules before it.
    Clear,
}

/// One filter rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub kind: RuleKind,
    /// The pattern, or the name of the file to merge, without the slash of `directory_only`.
    pub pattern: Vec<u8>,
    /// Matches directories only (a trailing slash).
    pub directory_only: bool,
    /// Matches against the whole path from the module's root (`/`).
    pub absolute: bool,
    /// Matches what the pattern does not (`!`).
    pub negate: bool,
    /// Concerns what the sender lists (`s`). With neither side given, a rule concerns both.
    pub sender_side: bool,
    /// Concerns what the receiver deletes (`r`).
    pub receiver_side: bool,
    /// Is ignored inside a directory that is being removed (`p`).
    pub perishable: bool,
    /// Merged rules do not reach into subdirectories (`n`).
    pub no_inherit: bool,
    /// The merged file is split at every white space (`w`).
    pub word_split: bool,
    /// The merged file itself is left out (`e`).
    pub exclude_self: bool,
    /// All lines of the merged file are of this kind (`-` or `+`).
    pub lines_are: Option<bool>,
    /// The merged file is in CVS's form (`C`).
    pub cvs: bool,
}

impl Rule {
    /// A plain rule from a pattern alone, as `--exclude` and `--include` take it.
    pub fn plain(kind: RuleKind, pattern: &[u8]) -> Self {
        let directory_only = pattern.len() > 1 && pattern.ends_with(b"/");
        let pattern = if directory_only { &pattern[..pattern.len() - 1] } else { pattern };
        Self {
            kind,
            pattern: pattern.to_vec(),
            directory_only,
            absolute: false,
            negate: false,
            sender_side: false,
            receiver_side: false,
            perishable: false,
            no_inherit: false,
            word_split: false,
            exclude_self: false,
            lines_are: None,
            cvs: false,
        }
    }

    /// Parses a rule with its type in front: `- *.tmp`, `:n .filter`, `protect,p name`, `P name`.
    ///
    /// # Errors
    /// [`WireError::Malformed`] with what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, WireError> {
        let bad =
            |why: &str| WireError::malformed("filter rule", format!("\"{}\": {why}", shown(text)));
        if text.len() > MAX_RULE {
            return Err(WireError::malformed("filter rule", "it is too long"));
        }
        let (word, rest) = rule_word(text).ok_or_else(|| bad("it begins with no known type"))?;
        let mut rule = Self::plain(word.kind, b"");
        rule.sender_side = word.sender_side;
        rule.receiver_side = word.receiver_side;
        if word.kind == RuleKind::Clear {
            return if rest.iter().all(u8::is_ascii_whitespace) {
                Ok(rule)
            } else {
                Err(bad("nothing may follow '!'"))
            };
        }
        let modifiers_end =
            rest.iter().position(|byte| matches!(byte, b' ' | b'_')).unwrap_or(rest.len());
        let merges = matches!(word.kind, RuleKind::Merge | RuleKind::DirMerge);
        let modifiers = rest[..modifiers_end].strip_prefix(b",").unwrap_or(&rest[..modifiers_end]);
        for modifier in modifiers {
            match modifier {
                b'/' => rule.absolute = true,
                b'!' if !merges => rule.negate = true,
                b's' => rule.sender_side = true,
                b'r' => rule.receiver_side = true,
                b'p' => rule.perishable = true,
                b'C' => rule.cvs = true,
                b'n' if merges => rule.no_inherit = true,
                b'w' if merges => rule.word_split = true,
                b'e' if merges => rule.exclude_self = true,
                b'-' if merges => rule.lines_are = Some(false),
                b'+' if merges => rule.lines_are = Some(true),
                b'x' => return Err(bad("rules about extended attributes are not supported")),
                _ => return Err(bad("it has an unknown modifier")),
            }
        }
        let pattern = rest.get(modifiers_end + 1..).unwrap_or_default();
        let pattern: &[u8] = match pattern {
            b"" if rule.cvs && merges => b".cvsignore",
            b"" => return Err(bad("it has no pattern")),
            pattern => pattern,
        };
        if pattern.contains(&0) {
            return Err(bad("the pattern contains a NUL"));
        }
        let plain = Self::plain(rule.kind, pattern);
        if merges {
            rule.pattern = pattern.to_vec();
        } else {
            rule.pattern = plain.pattern;
            rule.directory_only = plain.directory_only;
        }
        Ok(rule)
    }

    /// The rule as text for a peer.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] when the protocol cannot express it: before 29 anything but
    /// plain patterns and `!`.
    pub fn to_wire(&self, version: Version) -> Result<Vec<u8>, WireError> {
        if !version.has_iflags() {
            return self.to_old_wire(version);
        }
        let mut text = vec![match self.kind {
            RuleKind::Exclude => b'-',
            RuleKind::Include => b'+',
            RuleKind::DirMerge => b':',
            RuleKind::Clear => return Ok(b"!".to_vec()),
            RuleKind::Merge => {
                return Err(WireError::Incompatible("a merge has to be expanded first".into()));
            }
        }];
        let modifiers = [
            (self.absolute, b'/'),
            (self.negate, b'!'),
            (self.cvs, b'C'),
            (self.no_inherit, b'n'),
            (self.word_split, b'w'),
            (self.exclude_self, b'e'),
            (self.lines_are == Some(false), b'-'),
            (self.lines_are == Some(true), b'+'),
            (self.sender_side, b's'),
            (self.receiver_side, b'r'),
            (self.perishable && version.has_varints(), b'p'),
        ];
        text.extend(modifiers.iter().filter(|(set, _)| *set).map(|(_, letter)| letter));
        text.push(b' ');
        text.extend_from_slice(&self.pattern);
        if self.directory_only {
            text.push(b'/');
        }
        Ok(text)
    }

    /// The text before protocol 29: an exclude is bare, unless its pattern looks like a rule.
    fn to_old_wire(&self, version: Version) -> Result<Vec<u8>, WireError> {
        if self.kind == RuleKind::Clear {
            return Ok(b"!".to_vec());
        }
        let mut pattern = self.pattern.clone();
        if self.directory_only {
            pattern.push(b'/');
        }
        let include = self.kind == RuleKind::Include;
        let is_plain = Self::plain(self.kind, &pattern) == *self;
        if !is_plain || !(include || self.kind == RuleKind::Exclude) {
            return Err(WireError::Incompatible(format!(
                "protocol {version} cannot carry the filter rule for \"{}\"",
                shown(&pattern)
            )));
        }
        let looks_like_a_rule =
            pattern.starts_with(b"- ") || pattern.starts_with(b"+ ") || pattern == b"!";
        let prefix: &[u8] = match (include, looks_like_a_rule) {
            (true, _) => b"+ ",
            (false, true) => b"- ",
            (false, false) => b"",
        };
        Ok([prefix, &pattern].concat())
    }

    /// What it counts as where rules are limited, in bytes ([`MAX_RULES_BYTES`]).
    pub fn weight(&self) -> usize {
        RULE_OVERHEAD + self.pattern.len()
    }

    /// Whether the rule concerns the sender's listing, with `--delete-excluded` or without.
    pub fn concerns_sender(&self) -> bool {
        self.sender_side || !self.receiver_side
    }

    /// Whether a side makes a difference to it.
    fn has_side(&self) -> bool {
        matches!(self.kind, RuleKind::Exclude | RuleKind::Include)
    }

    /// Whether the rule concerns the receiver's deletions. With `--delete-excluded` a rule does so
    /// only when it says so.
    pub fn concerns_receiver(&self, delete_excluded: bool) -> bool {
        self.receiver_side || (!self.sender_side && !delete_excluded)
    }
}

struct Word {
    kind: RuleKind,
    sender_side: bool,
    receiver_side: bool,
}

/// The type at the front of a rule, and what follows it.
fn rule_word(text: &[u8]) -> Option<(Word, &[u8])> {
    const WORDS: [(&str, &str, RuleKind, bool, bool); 9] = [
        ("exclude", "-", RuleKind::Exclude, false, false),
        ("include", "+", RuleKind::Include, false, false),
        ("dir-merge", ":", RuleKind::DirMerge, false, false),
        ("merge", ".", RuleKind::Merge, false, false),
        ("clear", "!", RuleKind::Clear, false, false),
        ("hide", "H", RuleKind::Exclude, true, false),
        ("show", "S", RuleKind::Include, true, false),
        ("protect", "P", RuleKind::Exclude, false, true),
        ("risk", "R", RuleKind::Include, false, true),
    ];
    for (long, short, kind, sender_side, receiver_side) in WORDS {
        let word = Word { kind, sender_side, receiver_side };
        if let Some(rest) = text.strip_prefix(long.as_bytes())
            && matches!(rest.first(), None | Some(b',' | b' ' | b'_'))
        {
            return Some((word, rest));
        }
        if let Some(rest) = text.strip_prefix(short.as_bytes()) {
            return Some((word, rest));
        }
    }
    None
}

/// Whether a filter list travels at all (§7): both ends work it out from the arguments.
pub fn sends_filter_list(options: &Options, direction: Direction, version: Version) -> bool {
    match direction {
        Direction::Pull => true,
        Direction::Push => {
            options.prune_empty_dirs
                || (options.deletes() && (!options.delete_excluded || version.has_iflags()))
        }
    }
}

/// Appends the rules that concern the other side, and the end of the list.
///
/// # Errors
/// [`WireError::Incompatible`] when a rule cannot be expressed.
pub fn encode_filter_list(
    rules: &[Rule],
    direction: Direction,
    options: &Options,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    for rule in rules {
        let concerns = match direction {
            Direction::Pull => rule.concerns_sender(),
            Direction::Push => rule.concerns_receiver(options.delete_excluded),
        };
        if !concerns {
            continue;
        }
        let mut rule = rule.clone();
        // With --delete-excluded a rule that names no side is the sender's alone, and says so.
        let names_no_side = !rule.sender_side && !rule.receiver_side;
        rule.sender_side |=
            names_no_side && options.delete_excluded && version.has_iflags() && rule.has_side();
        let text = rule.to_wire(version)?;
        let length = i32::try_from(text.len())
            .map_err(|_| WireError::malformed("filter rule", "it is too long"))?;
        out.put_int(length);
        out.extend_from_slice(&text);
    }
    out.put_int(0);
    Ok(())
}

/// Decodes a filter list as one item.
#[derive(Debug, Clone, Default)]
pub struct FilterListDecoder {
    rules: Vec<Rule>,
    /// What they weigh, in bytes.
    weight: usize,
}

impl FilterListDecoder {
    /// A decoder for the start of a list. It consumes rules one by one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Decode for FilterListDecoder {
    type Item = Vec<Rule>;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Vec<Rule>>, WireError> {
        loop {
            let rule = decode_with(buf, |cursor| {
                let length = cursor.int()?;
                let length =
                    usize::try_from(length).ok().filter(|length| *length <= MAX_RULE).ok_or_else(
                        || WireError::malformed("filter rule", format!("{length} bytes long")),
                    )?;
                Ok(if length == 0 { None } else { Some(Rule::parse(cursor.take(length)?)?) })
            })?;
            match rule {
                None => return Ok(None),
                Some(None) => return Ok(Some(std::mem::take(self).rules)),
                Some(Some(rule)) => {
                    self.weight += rule.weight();
                    if self.weight > MAX_RULES_BYTES {
                        let detail = format!("rules that take more than {MAX_RULES_BYTES} bytes");
                        return Err(WireError::malformed("filter list", detail));
                    }
                    self.rules.push(rule);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(text: &str) -> String {
        let rule = Rule::parse(text.as_bytes()).expect("a rule");
        String::from_utf8(rule.to_wire(Version::NEWEST).expect("expressible")).expect("ASCII")
    }

    #[test]
    fn rules_travel_as_the_reference_says() {
        for (user, on_wire) in [
            ("- *.sh", "- *.sh"),
            ("+ keep", "+ keep"),
            (": .rsync-filter", ": .rsync-filter"),
            ("P extra.txt", "-r extra.txt"),
            ("protect extra.txt", "-r extra.txt"),
            ("R x", "+r x"),
            ("H x", "-s x"),
            ("show,p x", "+sp x"),
            ("exclude dir/", "- dir/"),
            ("dir-merge,n- .x", ":n- .x"),
            ("!", "!"),
            ("-_a b", "- a b"),
        ] {
            assert_eq!(wire(user), on_wire);
        }
    }

    #[test]
    fn refuses_what_is_no_rule() {
        for text in ["", "x", "-", "- ", "-y a", "! a", "exclude", "-x user.*"] {
            assert!(Rule::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_are_read_in_any_pieces() {
        let rules: Vec<Rule> = ["- *.sh", "+ keep", "-r a/"]
            .iter()
            .map(|text| Rule::parse(text.as_bytes()).expect("a rule"))
            .collect();
        let options = Options::default();
        let mut out = BytesMut::new();
        encode_filter_list(&rules, Direction::Push, &options, Version::NEWEST, &mut out)
            .expect("expressible");
        let read = crate::decode::testing::decode_both_ways(FilterListDecoder::new, &out);
        assert_eq!(read, vec![rules]);
    }

    #[test]
    fn rule_19_3_an_endless_filter_list_is_refused() {
        for pattern in [1, MAX_RULE - 2] {
            let text = [b"- ", &b"x".repeat(pattern)[..]].concat();
            let mut rule = BytesMut::new();
            rule.put_int(i32::try_from(text.len()).expect("short"));
            rule.extend_from_slice(&text);
            let mut decoder = FilterListDecoder::new();
            let outcome = (0..=MAX_RULES_BYTES / RULE_OVERHEAD).find_map(|_| {
                let read = decoder.decode(&mut rule.clone());
                assert_eq!(read.as_ref().ok().and_then(Option::as_ref), None, "no end was sent");
                read.err()
            });
            assert!(matches!(outcome, Some(WireError::Malformed { .. })), "{outcome:?}");
            let kept: usize = decoder.rules.iter().map(Rule::weight).sum();
            assert!(kept <= MAX_RULES_BYTES, "{kept}");
        }
    }

    fn sent(rules: &[&str], direction: Direction, options: &Options, number: u8) -> Vec<String> {
        let rules: Vec<Rule> =
            rules.iter().map(|text| Rule::parse(text.as_bytes()).expect("a rule")).collect();
        let version = Version::new(number).expect("known");
        let mut out = BytesMut::new();
        encode_filter_list(&rules, direction, options, version, &mut out).expect("expressible");
        let mut texts = Vec::new();
        let mut cursor = crate::decode::Cursor::new(&out);
        while let Ok(length @ 1..) = cursor.int() {
            let text = cursor.take(usize::try_from(length).expect("short")).expect("complete");
            texts.push(String::from_utf8_lossy(text).into_owned());
        }
        assert_eq!(cursor.remaining(), 0);
        texts
    }

    #[test]
    fn lists_match_the_recordings_of_3_5_0() {
        let rules = ["- *.sh", "+ keep", "P extra.txt", ": .rsync-filter"];
        let options = Options { delete_excluded: false, ..Options::default() };
        assert_eq!(
            sent(&rules, Direction::Pull, &options, 32),
            ["- *.sh", "+ keep", ": .rsync-filter"]
        );
        assert_eq!(
            sent(&rules, Direction::Push, &options, 32),
            ["- *.sh", "+ keep", "-r extra.txt", ": .rsync-filter"]
        );
        assert_eq!(sent(&["- *.sh", "- odd"], Direction::Pull, &options, 28), ["*.sh", "odd"]);
        let options = Options { delete_excluded: true, ..Options::default() };
        assert_eq!(sent(&["- *.sh"], Direction::Pull, &options, 32), ["-s *.sh"]);
        assert!(sent(&["- *.sh"], Direction::Push, &options, 32).is_empty());
    }

    #[test]
    fn before_29_only_plain_patterns_can_be_said() -> Result<(), WireError> {
        let old = Version::new(28)?;
        let wire = |text: &str| Rule::parse(text.as_bytes())?.to_wire(old);
        assert_eq!(wire("- a/")?, b"a/");
        assert_eq!(wire("- - a")?, b"- - a");
        assert_eq!(wire("+ a")?, b"+ a");
        assert_eq!(wire("- !")?, b"- !");
        assert_eq!(wire("!")?, b"!");
        for text in ["P a", "-! a", "-/ a", ": a"] {
            assert!(wire(text).is_err(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_push_sends_a_list_only_when_the_receiver_wants_it() -> Result<(), WireError> {
        let (old, new) = (Version::new(28)?, Version::NEWEST);
        let none = Options::default();
        let pruning = Options { prune_empty_dirs: true, ..Options::default() };
        let deleting = Options { delete: Some(Default::default()), ..Options::default() };
        let excluded = Options { delete_excluded: true, ..deleting.clone() };
        assert!(sends_filter_list(&none, Direction::Pull, new));
        assert!(!sends_filter_list(&none, Direction::Push, new));
        for options in [&pruning, &deleting, &excluded] {
            assert!(sends_filter_list(options, Direction::Push, new));
        }
        assert!(!sends_filter_list(&excluded, Direction::Push, old));
        Ok(())
    }

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x01\x20\0\0", b"\x01\0\0\0x"] {
            let mut buf = BytesMut::from(bytes);
            assert!(FilterListDecoder::new().decode(&mut buf).is_err(), "{bytes:?}");
        }
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let kind = prop_oneof![
            Just(RuleKind::Exclude),
            Just(RuleKind::Include),
            Just(RuleKind::DirMerge),
        ];
        (kind, "[a-z*/!_ -]{1,20}", any::<[bool; 9]>(), any::<Option<bool>>()).prop_map(
            |(kind, pattern, flags, lines_are)| {
                let mut flags = flags.into_iter();
                let mut next = || flags.next().unwrap_or_default();
                let mut rule = Rule::plain(kind, pattern.as_bytes());
                rule.absolute = next();
                rule.sender_side = next();
                rule.receiver_side = next();
                rule.perishable = next();
                rule.cvs = next();
                if kind == RuleKind::DirMerge {
                    rule.pattern = pattern.into_bytes();
                    rule.directory_only = false;
                    rule.no_inherit = next();
                    rule.word_split = next();
                    rule.exclude_self = next();
                    rule.lines_are = lines_are;
                } else {
                    rule.negate = next();
                }
                rule
            },
        )
    }

    proptest! {
        #[test]
        fn every_rule_survives(rule in any_rule()) {
            let text = rule.to_wire(Version::NEWEST).expect("expressible");
            prop_assert_eq!(Rule::parse(&text), Ok(rule));
        }

        #[test]
        fn arbitrary_texts_never_panic(text: Vec<u8>, list: Vec<u8>) {
            drop(Rule::parse(&text));
            drop(crate::decode::testing::decode_in_steps(&mut FilterListDecoder::new(), &list, 3));
        }
    }

    #[test]
    fn a_push_keeps_plain_rules_to_itself_with_delete_excluded() {
        let rules = [Rule::plain(RuleKind::Exclude, b"x")];
        let options = Options { delete_excluded: true, ..Options::default() };
        let mut out = BytesMut::new();
        encode_filter_list(&rules, Direction::Push, &options, Version::NEWEST, &mut out)
            .expect("expressible");
        assert_eq!(&out[..], [0; 4]);
    }
}

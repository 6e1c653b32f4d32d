//! The dated trash of a target: what runs with `--trash` have deleted or overwritten.

use bascule_engine::backup::{RUN_NAME, TRASH};
use bascule_wire::filter::{Rule, RuleKind};
use jiff::Timestamp;

/// The backup dir of a run that begins now, relative to the destination.
pub fn of_this_run() -> String {
    format!("{TRASH}/{}", Timestamp::now().strftime(RUN_NAME))
}

/// Adds the rules that keep the trash from being sent and from being deleted, ahead of all rules
/// that count.
pub fn leave_alone(rules: Vec<Rule>) -> Vec<Rule> {
    let rule = |sender_side| {
        let mut rule = Rule::plain(RuleKind::Exclude, format!("/{TRASH}/").as_bytes());
        // With its side said, a rule counts under --delete-excluded as well.
        rule.sender_side = sender_side;
        rule.receiver_side = !sender_side;
        rule
    };
    ahead(rules, [rule(true), rule(false)])
}

/// Puts rules ahead of all that count.
pub(crate) fn ahead(mut rules: Vec<Rule>, new: impl IntoIterator<Item = Rule>) -> Vec<Rule> {
    let cleared = rules.iter().rposition(|rule| rule.kind == RuleKind::Clear);
    let first = cleared.map_or(0, |at| at + 1);
    rules.splice(first..first, new);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_come_first_and_survive_a_clear() {
        let user = [
            Rule::plain(RuleKind::Include, b"*"),
            Rule::plain(RuleKind::Clear, b""),
            Rule::plain(RuleKind::Exclude, b"*.tmp"),
        ];
        let rules = leave_alone(user.to_vec());
        let kinds: Vec<_> = rules.iter().map(|rule| (&rule.pattern[..], rule.kind)).collect();
        let trash = (&b"/.bascule-trash"[..], RuleKind::Exclude);
        assert_eq!(kinds[2..4], [trash, trash]);
        assert_eq!(leave_alone(Vec::new()).len(), 2);
    }

    #[test]
    fn a_run_is_named_by_its_time() {
        let name = of_this_run();
        assert!(name.starts_with(".bascule-trash/2") && name.ends_with('Z'), "{name}");
    }
}

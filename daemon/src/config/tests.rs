use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Config {
    parse(text.as_bytes(), "rsyncd.conf", &[]).expect("a good configuration")
}

fn problems(text: &str) -> Vec<String> {
    let errors = parse(text.as_bytes(), "rsyncd.conf", &[]).expect_err("a bad configuration");
    errors.0.iter().map(ToString::to_string).collect()
}

fn names(config: &Config) -> Vec<&str> {
    config.modules.iter().map(|m| m.name.as_str()).collect()
}

#[test]
fn modules_take_the_defaults_that_stand_before_them() {
    let config = read(
        "port = 8730\nread only = no\ntimeout = 60\n\
         [a]\npath = /a\n[b]\npath=/b\ntimeout=5\nlist = false\n\
         [GLOBAL]\nread only = yes\nport = 8731\n\
         [c]\npath = /c\n[a]\ncomment = more of a\n",
    );
    assert_eq!(names(&config), ["a", "b", "c"]);
    assert_eq!(config.global.port, 8731);
    let rules = |name: &str| &config.module(name.as_bytes()).expect("there").rules;
    assert!(!rules("a").read_only && !rules("b").read_only && rules("c").read_only);
    assert_eq!(rules("a").timeout, 60);
    assert_eq!(rules("b").timeout, 5);
    assert!(!rules("b").list && rules("c").list);
    assert_eq!(rules("a").comment.as_deref(), Some("more of a"));
    assert!(config.module(b"A").is_none() && config.module(b"global").is_none());
}

#[test]
fn every_problem_is_reported_with_its_line() {
    assert_eq!(
        problems(
            "bogus = 1\n[x]\npath = /x\n timeout = \\\n soon\nport = 1\n[y]\nread only = yes\n"
        ),
        [
            "rsyncd.conf:1: the parameter \"bogus\" is unknown",
            "rsyncd.conf:4: \"timeout\" must be a number from 0 to 2147483647, not \"soon\"",
            "rsyncd.conf:6: \"port\" is a global parameter; put it before the first module or in [global]",
            "rsyncd.conf:7: the module [y] has no path",
        ]
    );
}

#[test]
fn a_file_of_another_kind_gives_a_bounded_number_of_problems() {
    assert_eq!(problems(&"x\n".repeat(1000)).len(), MOST_PROBLEMS);
}

#[test]
fn overrides_stand_at_the_end_of_the_global_part() {
    let overrides = ["motdfile=/m".to_owned(), "timeout = 9".to_owned()];
    let text = b"motd file = /x\ntimeout = 1\n[a]\npath=/a\n[b]\npath=/b\ntimeout=2\n";
    let config = parse(text, "f", &overrides).expect("good");
    assert_eq!(config.global.motd_file.as_deref(), Some("/m"));
    assert_eq!(config.modules[0].rules.timeout, 9);
    assert_eq!(config.modules[1].rules.timeout, 2);
    let errors = parse(text, "f", &["nope".to_owned(), "x=1".to_owned()]).expect_err("bad");
    assert_eq!(
        errors.to_string(),
        "--dparam=nope: expected NAME=VALUE\n--dparam=x=1: the parameter \"x\" is unknown"
    );
}

#[test]
fn includes_are_apart_and_merges_are_in_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
    write("b.conf", "[b]\npath = /b\n");
    write("a.conf", "timeout = 7\nport = 1\n[a]\npath = /a\n");
    write("note.txt", "nonsense");
    write("x.inc", "comment = merged\n");
    let here = dir.path().display();
    let config = read(&format!(
        "timeout = 3\n&include {here}\n[m]\npath = /m\n&merge {here}\n&include {here}/b.conf\nlist = no\n"
    ));
    assert_eq!(names(&config), ["a", "b", "m"]);
    assert_eq!(config.global.port, 0);
    assert_eq!(config.modules[0].rules.timeout, 7);
    assert_eq!(config.modules[1].rules.timeout, 3);
    assert_eq!(config.modules[2].rules.comment.as_deref(), Some("merged"));
    assert!(!config.modules[2].rules.list, "the section goes on after an include");
    assert!(config.modules[1].rules.list);
}

#[test]
fn a_problem_in_an_included_file_names_that_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.conf");
    std::fs::write(&file, "\nx=1\n").expect("write");
    let missing = std::fs::File::open("/none/such").expect_err("missing");
    assert_eq!(
        problems(&format!("&include {}\n&merge /none/such", file.display())),
        [
            format!("{}:2: the parameter \"x\" is unknown", file.display()),
            format!("rsyncd.conf:2: cannot read /none/such: {missing}"),
        ]
    );
    std::fs::write(&file, format!("&include {}", file.display())).expect("write");
    let errors = load(&file, &[]).expect_err("endless");
    assert!(errors.to_string().ends_with("does it include itself?"), "{errors}");
}

#[test]
fn a_missing_file_is_named_once() {
    let errors = load(Path::new("/none/such"), &[]).expect_err("missing");
    assert!(errors.to_string().starts_with("/none/such: cannot read /none/such:"), "{errors}");
}

#[test]
fn warns_of_modules_that_cannot_be_used() {
    let config = read("[a]\npath=/a\nauth users = joe\n[b]\npath=/b\nwrite only = yes\n");
    assert_eq!(config.warnings.len(), 2);
    assert!(config.warnings[0].starts_with("rsyncd.conf:1: the module [a]"));
}

#[test]
fn shadow_copies_are_only_for_reading_and_only_on_windows() {
    let text = "[a]\npath = /a\nshadow copy = yes\n[b]\npath = /b\nshadow copy = no\n";
    if cfg!(windows) {
        let config = read(text);
        assert!(config.modules[0].rules.shadow_copy && !config.modules[1].rules.shadow_copy);
        assert_eq!(config.warnings, [""; 0]);
        let config = read("[a]\npath = /a\nread only = no\nshadow copy = yes\n");
        assert!(config.warnings[0].contains("shadow copy"), "{:?}", config.warnings);
    } else {
        let refused = "rsyncd.conf:3: \"shadow copy\": there are no shadow copies on this system, \
                       only on Windows; remove the line";
        assert_eq!(problems(text), [refused]);
    }
}

#[test]
fn booleans_and_numbers_expand_when_read_and_texts_later() {
    // PATH is in every environment; it is neither a number nor a boolean.
    let found = problems("[a]\npath = /%PATH%\ntimeout = %PATH%\n");
    assert!(!found[0].contains("%PATH%"), "{found:?}");
    let config = read("[a]\npath = /%PATH%\n");
    assert_eq!(config.modules[0].rules.path.as_deref(), Some("/%PATH%"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&text, "f", &[]);
    }

    #[test]
    fn any_lines_are_read_without_panic(
        lines in proptest::collection::vec("(\\[|&x|#|port|path|hosts allow|auth users|gid|timeout)?[ =\\[\\]\\\\%/:,@*a-z0-9.]{0,20}\\\\?", 0..20)
    ) {
        let _ = parse(lines.join("\n").as_bytes(), "f", &[]);
    }
}

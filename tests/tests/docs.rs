//! What the documents say of tests and files is true: each test that SECURITY.md names and each suite
//! of docs/reliability.md exists, each event of the logs is in a table, and each link between the
//! documents leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The tests of the workspace: names of functions by the module that they are in. A module is its
/// file's path below `src` or `tests`: `["flist", "ids"]`.
#[derive(Debug, Default)]
struct Suites {
    tests: BTreeMap<Vec<String>, BTreeSet<String>>,
    crates: BTreeSet<String>,
    /// The scripts that the gate runs, such as `.ci/windows/run`.
    scripts: BTreeSet<String>,
}

impl Suites {
    fn of_workspace() -> Self {
        let mut suites = Self::default();
        for path in files(&root(), &|path| path.extension().is_some_and(|end| end == "rs")) {
            let below = path.strip_prefix(root()).expect("beneath the root");
            suites.add(below, &fs::read_to_string(&path).expect("UTF-8"));
        }
        for path in files(&root(), &|path| path.ends_with("Cargo.toml")) {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let names = text.lines().filter_map(|line| line.strip_prefix("name = \"bascule-"));
            suites.crates.extend(names.map(|name| format!("bascule-{}", name.trim_matches('"'))));
        }
        suites.add_scripts(".ci/run");
        suites
    }

    /// Adds a script and those that it runs.
    fn add_scripts(&mut self, script: &str) {
        if self.scripts.insert(script.to_owned()) {
            let text = fs::read_to_string(root().join(script)).expect("a script that is run");
            let commands = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            let words = commands.flat_map(str::split_whitespace);
            words.filter(|word| word.starts_with(".ci/")).for_each(|word| self.add_scripts(word));
        }
    }

    fn add(&mut self, path: &Path, text: &str) {
        let mut module: Vec<String> = path
            .with_extension("")
            .components()
            .skip(1)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .skip_while(|part| part != "src" && part != "tests")
            .skip(1)
            .collect();
        module.pop_if(|last| matches!(&last[..], "mod" | "lib" | "main"));
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(rest) = line.split("fn ").nth(1).filter(|_| is_test) {
                let name = rest.split('(').next().unwrap_or_default().to_owned();
                self.tests.entry(module.clone()).or_default().insert(name);
                is_test = false;
            }
        }
    }

    /// The tests of a module and of those below it.
    fn within(&self, module: &[&str]) -> impl Iterator<Item = &String> {
        let is_in = move |known: &&Vec<String>| known.windows(module.len()).any(|w| w == module);
        self.tests.keys().filter(is_in).filter_map(|known| self.tests.get(known)).flatten()
    }

    /// Whether `file::function` is a test.
    fn has_test(&self, reference: &str) -> bool {
        let parts: Vec<&str> = reference.split("::").collect();
        let Some((function, module)) = parts.split_last() else { return false };
        !module.is_empty() && self.within(module).any(|known| known == function)
    }

    /// Whether a crate or a script of the gate has this name, or a module and it has tests.
    fn has_suite(&self, name: &str) -> bool {
        let module: Vec<&str> = name.split("::").collect();
        self.crates.contains(name)
            || self.scripts.contains(name)
            || self.within(&module).next().is_some()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace").to_owned()
}

/// The files below `folder` that are wanted, without those that are built or hidden.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().expect("a kind").is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}

/// What stands between backticks in a line.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_reference(code: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    code.contains("::") && code.split("::").all(word)
}

/// The rows of the tables whose last column's heading has `test` in it.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let (mut rows, mut is_wanted, mut in_table) = (Vec::new(), false, false);
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let last = cells.last().copied().unwrap_or_default();
        if !in_table {
            (in_table, is_wanted) = (true, last.contains("test"));
        } else if is_wanted && !last.starts_with("---") {
            rows.push(cells);
        }
    }
    rows
}

/// What is wrong with the tests that a text names, and with rows that name none and do not say
/// `none` either.
fn wrong_tests(text: &str, suites: &Suites) -> Vec<String> {
    let unknown = text
        .lines()
        .flat_map(code)
        .filter(|code| is_reference(code) && !suites.has_test(code))
        .map(|code| format!("no such test: {code}"));
    let silent = rows(text)
        .into_iter()
        .filter(|row| {
            row.last().is_none_or(|last| !last.starts_with("none") && !code(last).any(is_reference))
        })
        .map(|row| format!("no test in the row of {}", row[0]));
    unknown.chain(silent).collect()
}

/// What is wrong with the suites in the last columns of a text.
fn wrong_suites(text: &str, suites: &Suites) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows(text) {
        let last = row.last().copied().unwrap_or_default();
        if code(last).next().is_none() {
            wrong.push(format!("no suite in the row of {}", row[0]));
        }
        let unknown = code(last).filter(|name| !suites.has_suite(name));
        wrong.extend(unknown.map(|name| format!("no such suite: {name}")));
    }
    wrong
}

/// The names of the events that code outside tests logs; for an event without one, its line.
fn events(path: &Path) -> (BTreeSet<String>, Vec<String>) {
    let text = fs::read_to_string(path).expect("UTF-8");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut names, mut nameless) = (BTreeSet::new(), Vec::new());
    for level in ["error", "warn", "info", "debug", "trace"] {
        for call in code.split(&format!("tracing::{level}!(")).skip(1) {
            let name = call
                .trim_start()
                .strip_prefix("event = \"")
                .and_then(|rest| rest.split('"').next());
            match name {
                Some(name) => _ = names.insert(name.to_owned()),
                None => nameless.push(format!("{}: {:.60}", path.display(), call.trim_start())),
            }
        }
    }
    (names, nameless)
}

/// The links of a text that lead nowhere: to no file next to `document`, or to no heading of it.
fn wrong_links(document: &Path, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_wrong = |target: &&str| {
        let (name, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = match name {
            "" => document.to_owned(),
            name => document.with_file_name(name),
        };
        match fs::read_to_string(&path) {
            Ok(text) => !heading.is_empty() && !headings(&text).any(|known| known == heading),
            Err(_) => !path.is_dir() || !heading.is_empty(),
        }
    };
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .filter(is_wrong)
        .map(|target| format!("{}: {target} leads nowhere", document.display()))
        .collect()
}

/// The headings of a text as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn each_test_that_security_names_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).expect("UTF-8");
    assert!(rows(&text).len() > 50, "the table is there");
    assert_eq!(wrong_tests(&text, &Suites::of_workspace()), Vec::<String>::new());
}

#[test]
fn each_event_has_a_name_that_is_documented() {
    let (mut names, mut nameless) = (BTreeSet::new(), Vec::new());
    for part in ["daemon", "agent", "platform", "protocol"] {
        for path in
            files(&root().join(part), &|path| path.extension().is_some_and(|end| end == "rs"))
        {
            let (named, without) = events(&path);
            names.extend(named);
            nameless.extend(without);
        }
    }
    assert!(names.len() > 50, "{names:?}");
    assert_eq!(nameless, Vec::<String>::new());
    let text: String = ["docs/services.md", "docs/jobs.md"]
        .map(|name| fs::read_to_string(root().join(name)).expect("UTF-8"))
        .concat();
    let known: BTreeSet<&str> = text.lines().flat_map(code).collect();
    names.retain(|name| !known.contains(&name[..]));
    assert!(names.is_empty(), "in no table: {names:?}");
}

#[test]
fn each_suite_that_reliability_names_exists() {
    let text = fs::read_to_string(root().join("docs/reliability.md")).expect("UTF-8");
    assert!(rows(&text).len() > 50, "the tables are there");
    assert_eq!(wrong_suites(&text, &Suites::of_workspace()), Vec::<String>::new());
}

#[test]
fn each_link_between_documents_leads_somewhere() {
    let documents = files(&root(), &|path| path.extension().is_some_and(|end| end == "md"));
    let text = |path: &PathBuf| fs::read_to_string(path).expect("UTF-8");
    let wrong: Vec<String> =
        documents.iter().flat_map(|path| wrong_links(path, &text(path))).collect();
    assert!(documents.len() > 8 && documents.contains(&root().join("SECURITY.md")));
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_found() {
    let mut suites = Suites::default();
    let text = "fn helper() {}\n#[test]\n#[cfg(unix)]\nfn a_test() {\n    fn inner() {}\n}\n";
    suites.add(Path::new("protocol/wire/src/flist/tests.rs"), text);
    suites.add(Path::new("tests/tests/walls.rs"), "#[tokio::test]\nasync fn another() {}\n");
    suites.crates.insert("bascule-wire".to_owned());
    suites.scripts.insert(".ci/run".to_owned());
    for good in ["flist::a_test", "flist::tests::a_test", "walls::another"] {
        assert!(suites.has_test(good), "{good}");
    }
    for wrong in ["walls::a_test", "flist::helper", "flist::inner", "wire::a_test", "a_test"] {
        assert!(!suites.has_test(wrong), "{wrong}");
    }

    let text = "| CVE | what | tests |\n|---|---|---|\n| 1 | `x::y` | `walls::another` |\n\
                | 2 | | nothing |\n| 3 | | none: it is not carried out |\n\n| a | b |\n|---|---|\n| c | d |\n";
    assert_eq!(wrong_tests(text, &suites), ["no such test: x::y", "no test in the row of 2"]);
    assert_eq!(wrong_tests("see `flist::gone`", &suites), ["no such test: flist::gone"]);

    let text = "| fault | test |\n|---|---|\n| 1 | `walls`, `bascule-wire`, `.ci/run` |\n| 2 | `gone` |\n| 3 | |\n| 4 | `.ci/gone` |\n";
    let wrong = ["no such suite: gone", "no suite in the row of 3", "no such suite: .ci/gone"];
    assert_eq!(wrong_suites(text, &suites), wrong);

    let dir = tempfile::tempdir().expect("a folder");
    let document = dir.path().join("a.md");
    fs::write(dir.path().join("b.md"), "# B\n## What's *not* there\n").expect("a file");
    let text =
        "[1](b.md) [2](b.md#whats-not-there) [3](https://gone.example/x.md) [4](c.md) [5](b.md#c)";
    let wrong = wrong_links(&document, text);
    assert!(
        wrong.len() == 2 && wrong[0].contains("c.md") && wrong[1].contains("b.md#c"),
        "{wrong:?}"
    );
}

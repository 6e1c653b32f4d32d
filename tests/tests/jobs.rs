//! Jobs of `bascule.toml`: run, shown, compared, kept in the history; never two runs at once.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bascule_tests::job::World;
use bascule_tests::peer::{Whose, finish, free_port, program};
use bascule_tests::relay::Relay;
use bascule_tests::scratch::{T0, file, noise};
use serde_json::{Value, json};

fn runs_and_keeps_a_history(whose: Whose) {
    let world = World::new(whose, "guard = { percent = 100, names = 100 }\n");
    let first = world.bascule(&["run", "mail"]);
    assert_eq!(first.code, 0, "{}", first.said);
    world.assert_equal();

    world.write("joe/inbox/5.imap");
    std::fs::remove_file(world.at("from/ann/inbox/1.imap")).expect("it is there");
    std::fs::create_dir(world.at("from/joe/done")).expect("a folder");
    std::fs::rename(world.at("from/joe/sent/4.imap"), world.at("from/joe/done/4.imap"))
        .expect("it is there");
    let differs = world.json(&["diff", "mail", "--json"]);
    assert_eq!(differs["in_all"], json!({ "new": 1, "changed": 0, "moved": 1, "deleted": 1 }));
    assert_eq!(differs["folders"]["joe/done"]["moved"], json!(1));
    assert_eq!(differs["folders"]["ann/inbox"]["deleted"], json!(1));
    let again = world.json(&["diff", "mail", "--json"]);
    assert_eq!(again, differs, "a comparison changes nothing");

    let second = world.bascule(&["run", "--all"]);
    assert_eq!(second.code, 0, "{}", second.said);
    world.assert_equal();
    let history = world.json(&["history", "--json"]);
    let runs = history.as_array().expect("a list");
    assert_eq!(runs.len(), 2, "comparisons are no runs: {history}");
    assert_eq!(runs[1]["verdict"], json!("complete"));
    assert_eq!(runs[1]["files_transferred"], json!(2));
    assert_eq!(runs[1]["files_listed"], json!(4));
    assert_eq!(runs[1]["deleted"], json!(2));

    let run = runs[1]["run"].to_string();
    let all = world.json(&["history", "--run", &run, "--json"]);
    let accounts = &all["accounts"];
    let ann = json!({ "files_listed": 1, "bytes_listed": 1000, "created": 0,
        "files_transferred": 0, "bytes_transferred": 0, "deleted": 1, "failed": 0 });
    assert_eq!(accounts["ann"], ann, "{accounts:#}");
    let joe = &accounts["joe"];
    assert_eq!((&joe["files_listed"], &joe["bytes_listed"]), (&json!(3), &json!(2500)));
    assert_eq!((&joe["files_transferred"], &joe["deleted"]), (&json!(2), &json!(1)), "{joe:#}");
    let phases = &all["run"]["phases"];
    let sum: f64 = ["connect", "list", "transfer", "finish"]
        .iter()
        .map(|phase| phases[phase].as_f64().expect("a number"))
        .sum();
    let seconds = all["run"]["seconds"].as_f64().expect("a number");
    assert!(sum > 0.0 && sum <= seconds + 0.1, "{phases} of {seconds}");

    let status = world.bascule(&["status"]);
    assert!(status.said.contains("mail") && status.said.contains("complete"), "{}", status.said);
    assert_eq!(world.json(&["history", "mail", "--run", &run, "--json"]), all);
    let table = world.bascule(&["history", "--run", &run]);
    assert!(table.said.contains("joe") && table.said.contains("account"), "{}", table.said);
}

#[test]
fn runs_and_keeps_a_history_towards_our_daemon() {
    runs_and_keeps_a_history(Whose::Ours);
}

#[test]
fn runs_and_keeps_a_history_towards_rsync() {
    runs_and_keeps_a_history(Whose::Rsync);
}

#[test]
fn what_show_prints_does_the_same() {
    let world = World::new(Whose::Ours, "exclude = [\"*.tmp\", \"it's\"]\nbandwidth = \"10m\"\n");
    world.write("ann/draft.tmp");
    let shown = world.bascule(&["show", "mail"]);
    let lines: Vec<&str> =
        shown.said.lines().filter(|line| line.starts_with("  ")).map(str::trim).collect();
    assert_eq!(lines.len(), 2, "{}", shown.said);
    for line in lines {
        std::fs::remove_dir_all(world.at("to")).expect("it is there");
        std::fs::create_dir(world.at("to")).expect("a folder");
        let own = program("bascule").parent().expect("a folder").display().to_string();
        let path = format!("{own}:{}", std::env::var("PATH").expect("a path"));
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", path).env("XDG_STATE_HOME", world.at("home"));
        let ran = finish(shell.stdin(Stdio::null()));
        assert_eq!(ran.code, 0, "{line}: {}", ran.said);
        assert!(world.at("to/joe/sent/4.imap").exists(), "{line}");
        assert!(!world.at("to/ann/draft.tmp").exists(), "{line}");
    }
    let schema = world.json(&["show", "--schema"]);
    assert!(schema["properties"]["jobs"].is_object(), "{schema}");
}

#[test]
fn differences_that_nobody_could_look_for_are_not_told() {
    let world = World::new(Whose::Ours, "");
    let found = world.json(&["diff", "mail", "--json"]);
    assert_eq!((&found["exit_code"], &found["in_all"]["new"]), (&json!(0), &json!(4)), "{found}");
    world.configure(free_port(), "options = [\"--retries=0\"]");
    let failed = world.bascule(&["diff", "mail"]);
    assert!(failed.code == 10 && !failed.said.contains("in all"), "{}", failed.said);
    let failed = world.bascule(&["diff", "mail", "--json"]);
    let line = failed.said.lines().find(|line| line.starts_with('{')).expect("a document");
    let found: Value = serde_json::from_str(line).expect("a document");
    assert_eq!((&found["exit_code"], &found["in_all"]), (&json!(10), &Value::Null), "{found}");
    assert!(found["error"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
}

#[test]
fn two_runs_of_one_job_never_overlap() {
    let world = World::new(Whose::Ours, "");
    file(&world.at("from"), b"joe/big", &noise(1, 4 << 20), 0o644, (T0, 5)).expect("a file");
    let relay = Relay::before(world.daemon.port);
    relay.allow_until_silence(1 << 20);
    world.configure(relay.port, "");
    let mut first = world.command(&["run", "mail", "-q"]).spawn().expect("it starts");
    let began = Instant::now();
    while relay.left() > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing travels");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = world.json(&["status", "--json"]);
    assert_eq!(status[0]["running"], json!(true), "{status}");
    let second = world.bascule(&["run", "mail"]);
    assert_eq!(second.code, 1, "{}", second.said);
    assert!(second.said.contains("being run already"), "{}", second.said);
    let history = world.json(&["history", "--json"]);
    assert_eq!(history[0]["verdict"], "running", "{history}");
    // Killed, it leaves no lock behind, and a run in the history that was cut off, at once.
    first.kill().expect("it runs");
    first.wait().expect("it ended");
    let status = world.json(&["status", "--json"]);
    assert_eq!(
        (&status[0]["running"], &status[0]["last"]["verdict"]),
        (&json!(false), &json!("cut off"))
    );
    world.configure(world.daemon.port, "");
    let third = world.bascule(&["run", "mail"]);
    assert_eq!(third.code, 0, "{}", third.said);
    world.assert_equal();
    let history = world.json(&["history", "--json"]);
    let ends = |run: usize| (&history[run]["verdict"], &history[run]["exit_code"]);
    assert_eq!(ends(0), (&json!("cut off"), &json!(20)), "{history}");
    assert_eq!(ends(1), (&json!("complete"), &json!(0)), "{history}");
}

#[test]
fn what_is_wrong_is_said_and_kept() {
    let world = World::new(Whose::Ours, "");
    for (name, reason) in [("mial", "did you mean \"mail\"?"), ("x", "the jobs are: mail")] {
        let ran = world.bascule(&["run", name]);
        assert!(ran.code == 1 && ran.said.contains(reason), "{}", ran.said);
    }
    world.configure(world.daemon.port, "sorces = [\"x\"]\n");
    let ran = world.bascule(&["run", "mail"]);
    assert!(ran.code == 1 && ran.said.contains("line 5"), "{}", ran.said);
    assert!(ran.said.contains("did you mean \"sources\"?"), "{}", ran.said);
    // A guard that trips, and a daemon that is not there.
    world.configure(world.daemon.port, "guard = { percent = 0, names = 0 }\n");
    assert_eq!(world.bascule(&["run", "mail"]).code, 0);
    std::fs::remove_file(world.at("from/ann/inbox/1.imap")).expect("it is there");
    assert_eq!(world.bascule(&["run", "mail"]).code, 25);
    world.configure(1, "options = [\"--retries=0\"]\n");
    let ran = world.bascule(&["run", "mail"]);
    assert_eq!(ran.code, 10, "{}", ran.said);
    let history = world.json(&["history", "mail", "--json"]);
    let verdicts: Vec<&str> = history
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|run| run["verdict"].as_str())
        .collect();
    assert_eq!(verdicts, ["complete", "held back", "failed"]);
    assert!(history[2]["error"].as_str().is_some_and(|text| text.contains("127.0.0.1")));
    // What was said about the guard is kept.
    let run = history[1]["run"].to_string();
    let all = world.json(&["history", "--run", &run, "--json"]);
    assert!(
        all["problems"][0]["text"].as_str().is_some_and(|text| text.contains("delet")),
        "{all}"
    );
}

#[test]
fn a_job_comes_back_with_its_ends_swapped() {
    for whose in [Whose::Ours, Whose::Rsync] {
        let world = World::new(whose, "");
        world.write("ann/[odd] *?/a b");
        assert_eq!(world.bascule(&["run", "mail"]).code, 0);
        std::fs::remove_dir_all(world.at("from/ann")).expect("it is there");
        std::fs::write(world.at("from/joe/inbox/3.imap"), "damaged").expect("a file");
        world.write("joe/inbox/new.imap");
        // Only a look, then a part, then all of it; what is new at the source stays.
        let dry = world.bascule(&["restore", "--job", "mail", "-n", "-i"]);
        assert!(dry.code == 0 && dry.said.contains("ann/inbox/1.imap"), "{}", dry.said);
        assert!(!world.at("from/ann").exists());
        for typo in ["ann/inbxo", "ann/inbox/[1].imap"] {
            let none = world.bascule(&["restore", "--job", "mail", "joe/sent", typo]);
            assert!(none.code == 1 && none.said.contains(typo), "{}", none.said);
        }
        let part = world.bascule(&["restore", "--job", "mail", "ann/inbox/1.imap"]);
        assert_eq!(part.code, 0, "{}", part.said);
        assert!(world.at("from/ann/inbox/1.imap").exists());
        assert!(!world.at("from/ann/inbox/2.imap").exists());
        let odd = world.bascule(&["restore", "--job", "mail", "ann/[odd] *?/a b", "joe/sent/"]);
        assert_eq!(odd.code, 0, "{}", odd.said);
        assert!(world.at("from/ann/[odd] *?/a b").exists());
        let all = world.bascule(&["restore", "--job", "mail"]);
        assert_eq!(all.code, 0, "{}", all.said);
        assert!(world.at("from/joe/inbox/new.imap").exists());
        // What was overwritten is in the source's trash, which does not travel.
        let trash: Vec<_> = world.at("from/.bascule-trash").read_dir().expect("kept").collect();
        let run = trash[0].as_ref().expect("a run").path();
        let kept = std::fs::read(run.join("joe/inbox/3.imap")).expect("kept");
        assert_eq!(kept, b"damaged");
        // With deletions the guard counts, as in a run.
        world.configure(world.daemon.port, "guard = { percent = 0, names = 0 }\n");
        let delete = ["restore", "--job", "mail", "--delete"];
        let held = world.bascule(&delete);
        assert_eq!(held.code, 25, "{}", held.said);
        assert!(world.at("from/joe/inbox/new.imap").exists());
        let allowed = world.bascule(&[&delete[..], &["--allow-deletes=1"]].concat());
        assert_eq!(allowed.code, 0, "{}", allowed.said);
        std::fs::remove_dir_all(world.at("from/.bascule-trash")).expect("kept");
        world.assert_equal();
    }
}

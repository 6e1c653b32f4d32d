//! `bascule converge`: goes on until the runs are within the limits, and says when it cannot.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use bascule_tests::job::World;
use bascule_tests::peer::{Daemon, Whose};
use serde_json::Value;

/// A `bascule converge` that prints a document after each run.
struct Converging {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Converging {
    fn start(world: &World, options: &[&str]) -> Self {
        let mut command = world.command(&["converge", "mail", "--json"]);
        let mut child = command.args(options).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// What it says after the next run; `None` at its end.
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("text");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Converging {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn moved(said: &Value) -> u64 {
    let figure = |name: &str| said["run"][name].as_u64().expect("a number");
    figure("files_transferred") + figure("deleted")
}

#[test]
fn goes_on_while_much_changes_and_ends_when_little_does() {
    let world = World::new(Whose::Ours, "");
    let mut converging =
        Converging::start(&world, &["--under=1h", "--max-files=5", "--times=2", "--every=1s"]);
    let mut said = Vec::new();
    // Mail comes in at a falling rate, and stops.
    for messages in [40, 20, 10, 3, 0, 0, 0, 0, 0, 0] {
        let Some(after_run) = converging.next() else { break };
        said.push(after_run);
        for number in 0..messages {
            world.write(&format!("joe/inbox/{}-{number}.imap", said.len()));
        }
    }
    assert_eq!(converging.code(), Some(0), "{said:#?}");
    world.assert_equal();
    let verdicts: Vec<&str> = said.iter().filter_map(|said| said["verdict"].as_str()).collect();
    let (last, before) = verdicts.split_last().expect("it said something");
    assert_eq!(*last, "converged", "{verdicts:?}");
    assert!(before.iter().all(|verdict| *verdict == "converging"), "{verdicts:?}");
    let files: Vec<u64> = said.iter().map(moved).collect();
    assert!(files.len() >= 4 && files.iter().sum::<u64>() >= 77, "{files:?}");
    let [.., a, b] = files[..] else { panic!("{files:?}") };
    assert!(a <= 5 && b <= 5, "{files:?}");
    // From the third run on there is a forecast, and the history keeps it beside what came true.
    assert!(said[1]["next_run"]["seconds"].as_f64().is_some(), "{:#}", said[1]);
    assert!(said[1]["final_run"]["most"].as_f64().is_some(), "{:#}", said[1]);
    assert!(said[2]["run"]["forecast_seconds"].as_f64().is_some(), "{:#}", said[2]);
    let look = world.bascule(&["converge", "mail", "--look", "--under=1h", "--max-files=5"]);
    assert_eq!(look.code, 0, "{}", look.said);
    assert!(
        look.said.contains("converged") && look.said.contains("the final one"),
        "{}",
        look.said
    );
    let look = world.bascule(&["converge", "mail", "--look", "--times=200"]);
    assert_eq!(look.code, 40, "{}", look.said);
}

#[test]
fn ends_where_somebody_has_to_look() {
    let world = World::new(Whose::Ours, "guard = { percent = 0, names = 0 }\n");
    let mut first = Converging::start(&world, &["--max-runs=1"]);
    assert_eq!(first.next().expect("a run")["verdict"], "converging");
    assert_eq!(first.code(), Some(40));
    std::fs::remove_file(world.at("from/ann/inbox/1.imap")).expect("it is there");
    let mut second = Converging::start(&world, &[]);
    let said = second.next().expect("a run");
    assert_eq!(said["verdict"], "blocked", "{said:#}");
    assert!(said["reasons"][0].as_str().is_some_and(|text| text.contains("--allow-deletes")));
    assert!(second.next().is_none());
    assert_eq!(second.code(), Some(42));
    // Once that is done, it goes on by itself.
    assert_eq!(world.bascule(&["run", "mail", "--allow-deletes=1"]).code, 0);
    let mut third = Converging::start(&world, &[]);
    while third.next().is_some() {}
    assert_eq!(third.code(), Some(0));
    world.assert_equal();
}

#[test]
fn kept_up_it_outlives_a_daemon_that_goes_and_comes_back() {
    let mut world = World::new(Whose::Ours, "options = [\"--retries=0\"]\n");
    let mut converging = Converging::start(&world, &["--keep", "--times=1"]);
    assert_eq!(converging.next().expect("a run")["verdict"], "converged");
    let (port, config) = (world.daemon.port, world.daemon_config());
    world.daemon.end();
    // Runs that began before the end may still be told.
    let failed = loop {
        let said = converging.next().expect("it goes on");
        if said["run"]["verdict"] == "failed" {
            break said;
        }
    };
    assert!(failed["run"]["error"].is_string(), "{failed:#}");
    world.write("joe/inbox/later.imap");
    world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &config, "127.0.0.1", port);
    loop {
        let said = converging.next().expect("it goes on");
        if said["run"]["verdict"] == "complete" && said["run"]["files_transferred"] == 1 {
            break;
        }
    }
    drop(converging);
    world.assert_equal();
}

#[test]
fn kept_up_it_outlives_what_keeps_a_run_from_beginning() {
    let world = World::new(Whose::Ours, "options = [\"--retries=0\"]\n");
    let mut command = world.command(&["converge", "mail", "--json", "--keep", "--times=1"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut trouble = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut converging = Converging { child, lines };
    assert_eq!(converging.next().expect("a run")["verdict"], "converged");
    // A state folder that is no folder, as on a disk that was lost.
    let (state, away) = (world.at("state"), world.at("away"));
    std::fs::rename(&state, &away).expect("renamed");
    std::fs::write(&state, "").expect("a file");
    let told =
        trouble.find(|line| line.as_ref().is_ok_and(|line| line.contains("could not be run")));
    assert!(told.is_some(), "it ended");
    std::fs::remove_file(&state).expect("removed");
    std::fs::rename(&away, &state).expect("renamed");
    world.write("joe/inbox/later.imap");
    while moved(&converging.next().expect("it goes on")) == 0 {}
    drop(converging);
    world.assert_equal();
}

//! A move as an administrator sees it: two bare machines, the commands of the README, users who go on
//! working, and everything that breaks on the way. Each machine has a systemd of its own.
//!
//! `BASCULE_MESSAGES=50000` makes it a mail server of usual size; then the table of its runs is worth
//! reading (`--nocapture`).
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bascule_tests::judge::{describe, differences};
use bascule_tests::machine::Machine;
use bascule_tests::mail::{Shape, tree};
use bascule_tests::peer::program;
use bascule_tests::sinks::{HttpSink, Post, SmtpSink};
use bascule_tests::traffic::{Rhythm, Traffic};
use serde_json::Value;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
const TARGET: &str = "10.9.0.2";
/// What is on the target's disk beside the mail.
const BALLAST: &str = "/srv/disk/ballast";

struct World {
    source: Machine,
    target: Machine,
    /// The commands that were typed at the source and at the target.
    typed: [usize; 2],
    _scratch: tempfile::TempDir,
}

impl World {
    /// Two machines with a cable, mail on one of them, an empty disk in the other.
    fn new(messages: usize) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let programs = program("basculed");
        let programs = programs.parent().expect("a folder");
        let [source, target] = [(); 2].map(|()| Machine::start(scratch.path(), programs));
        source.connect(&target, ["10.9.0.1/24", "10.9.0.2/24"]);
        for machine in [&source, &target] {
            // What a package does.
            machine.good(&["mkdir", "-p", "/srv/disk"]);
        }
        // Twice what a message has on average.
        let size = format!("size={}k", 100_000 + 50 * messages);
        target.good(&["mount", "-t", "tmpfs", "-o", &size, "none", "/srv/disk"]);
        target.good(&["mkdir", "/srv/disk/mail"]);
        tree(&source.path("/srv/mail"), Shape::of(messages)).expect("a tree");
        Self { source, target, typed: [0; 2], _scratch: scratch }
    }

    /// Types a command at one of the machines.
    fn type_in(&mut self, at_source: bool, words: &[&str]) -> String {
        let (machine, typed) = if at_source {
            (&self.source, &mut self.typed[0])
        } else {
            (&self.target, &mut self.typed[1])
        };
        *typed += 1;
        let program = format!("/opt/bascule/{}", words[0]);
        machine.good(&[&[program.as_str()], &words[1..]].concat())
    }

    /// The runs of the job, from the first on.
    fn runs(&self) -> Vec<Value> {
        let command = ["/opt/bascule/bascule", "history", "mail", "-n", "1000", "--json"];
        let said = self.source.good(&command);
        let mut runs: Vec<Value> = serde_json::from_str(&said).expect("a document");
        runs.sort_by_key(|run| run["run"].as_i64());
        runs
    }

    /// Waits until one of the runs after the first `after` is as wanted; gives the number of runs
    /// up to that one.
    fn until(&self, after: usize, why: &str, wanted: impl Fn(&Value) -> bool) -> usize {
        let began = Instant::now();
        loop {
            let runs = self.runs();
            let found = runs.iter().skip(after).position(&wanted);
            if let Some(place) = found {
                return after + place + 1;
            }
            assert!(began.elapsed() < PATIENCE, "{why}: {:#?}", runs.get(after..));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for a run that begins from now on and does all it can while mail comes in.
    fn until_sound(&self, why: &str) -> usize {
        self.until(self.runs().len(), why, is_sound)
    }

    /// Servers for mail and posts in the network of the source.
    fn sinks(&self) -> (SmtpSink, HttpSink) {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        (SmtpSink::on(self.source.in_network(listen)), HttpSink::on(self.source.in_network(listen)))
    }

    fn process(machine: &Machine, service: &str) -> String {
        let show = ["systemctl", "show", service, "--property=MainPID", "--value"];
        machine.good(&show).trim().to_owned()
    }
}

fn verdict(run: &Value) -> &str {
    run["verdict"].as_str().unwrap_or_default()
}

/// Messages that go or change while they are read are the next run's.
fn is_sound(run: &Value) -> bool {
    matches!(verdict(run), "complete" | "in motion")
}

/// The table of all runs: what was foretold and what came true.
fn table(runs: &[Value]) -> String {
    let mut table = "| run | seconds | foretold | verdict | code | sent | deleted | attempts |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for run in runs {
        let seconds = |key: &str| {
            run[key].as_f64().map_or("–".to_owned(), |seconds| format!("{seconds:.2}"))
        };
        table.push_str(&format!(
            "| {} | {} | {} ({} to {}) | {} | {} | {} | {} | {} |\n",
            run["run"],
            seconds("seconds"),
            seconds("forecast_seconds"),
            seconds("forecast_least"),
            seconds("forecast_most"),
            verdict(run),
            run["exit_code"],
            run["files_transferred"],
            run["deleted"],
            run["attempts"],
        ));
    }
    table
}

#[test]
fn a_move_converges_whatever_breaks() {
    let messages: usize = std::env::var("BASCULE_MESSAGES")
        .map_or(2000, |text| text.parse().expect("BASCULE_MESSAGES is a number"));
    let is_big = messages > 10_000;
    let mut world = World::new(messages);

    // At the target…
    let listen = format!("--address={TARGET}");
    let said = world.type_in(false, &["basculed", "init", &listen, "mail=/srv/disk/mail"]);
    let url = said.split_whitespace().find(|word| word.starts_with("rsyncs://")).expect("a line");
    let url = url.to_owned();
    world.type_in(false, &["basculed", "service", "install"]);
    // … and at the source, where the password is typed or put into a file.
    let password = std::fs::read(world.target.path("/var/lib/basculed/bascule.password"));
    let password = password.expect("the password's file");
    let file = world.source.path("/root/password");
    std::fs::write(&file, password).expect("written");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    let every = if is_big { "10s" } else { "2s" };
    let every = format!("--every={every}");
    let init = [
        "bascule",
        "init",
        &every,
        "--account-depth=2",
        "--password-file=/root/password",
        &url,
        "/srv/mail/",
    ];
    world.type_in(true, &init);
    let checked = world.type_in(true, &["bascule", "check"]);
    assert!(checked.contains("mail"), "{checked}");
    // Not a quarter of an hour for each thing that is waited for.
    let config = world.source.path("/etc/bascule.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let text = text.replace("under = \"10m\"", "under = \"10m\", max_files = 60").replace(
        "# options = [\"--numeric-ids\"]",
        "options = [\"--retries=2\", \"--retry-wait=1\", \"--timeout=5\", \"--contimeout=5\"]",
    );
    let (mails, posts) = world.sinks();
    let text = format!(
        "{text}\n[notify.mail]\nserver = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\n\
         from = \"bascule@source\"\nto = [\"admin@example.com\"]\n\n\
         [notify.webhook]\nurl = \"http://127.0.0.1:{}/\"\n",
        mails.address().port(),
        posts.address().port()
    );
    std::fs::write(&config, text).expect("written");
    // Both ways tell of an event, each time.
    let known = std::cell::RefCell::new(BTreeSet::new());
    let is_told = |event: &str| {
        let id = |post: &Post| post.json()["id"].as_str().expect("an id").to_owned();
        let is_new = |post: &Post| !known.borrow().contains(&id(post));
        let post = posts.wait_for(|post| post.json()["event"] == event && is_new(post));
        println!("told: {}", post.json()["subject"]);
        let id = id(&post);
        mails.wait_for(|mail| mail.header("Message-ID").is_some_and(|it| it.contains(&id)));
        known.borrow_mut().insert(id);
    };
    let rhythm = if is_big {
        Rhythm { first: 100.0, half_life: 45.0, least: 1.0 }
    } else {
        Rhythm { first: 30.0, half_life: 20.0, least: 2.0 }
    };
    let traffic = Traffic::begin(&world.source.path("/srv/mail"), rhythm, 7).expect("a writer");
    world.type_in(true, &["bascule", "service", "install"]);

    // The agent is killed in its first run.
    let there = world.target.path("/srv/disk/mail");
    let began = Instant::now();
    while std::fs::read_dir(&there).expect("a folder").count() == 0 {
        assert!(began.elapsed() < PATIENCE, "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = World::process(&world.source, "bascule");
    world.source.good(&["kill", "-KILL", &process]);
    world.until_sound("after the agent was killed");
    assert!(world.runs().iter().any(|run| verdict(run) == "cut off"), "the kill came too late");
    is_told("run.cut_off");
    is_told("run.recovered");

    // The network goes.
    let before = world.runs().len();
    world.source.set_link(false);
    let failed = world.until(before, "the network is cut", |run| verdict(run) == "failed");
    is_told("run.failed");
    world.source.set_link(true);
    world.until_sound("after the network was cut");
    is_told("run.recovered");
    assert!(failed > before);

    // The target's disk is full.
    let fill = format!("fallocate -l $(df -B1 --output=avail {BALLAST}/.. | tail -1) {BALLAST}");
    world.target.good(&["sh", "-euc", &fill.replace("/ballast/..", "")]);
    let before = world.runs().len();
    world.until(before, "the target is full", |run| verdict(run) == "partial");
    is_told("disk.low");
    world.target.good(&["rm", BALLAST]);
    world.until_sound("after the target was full");

    // The daemon is restarted, again and again.
    let before = world.runs().len();
    for _ in 0..4 {
        world.target.good(&["systemctl", "restart", "basculed"]);
        std::thread::sleep(Duration::from_secs(1));
    }
    world.until_sound("after the daemon was restarted");
    assert!(world.runs().len() > before);

    // Less and less mail: the switch can be planned.
    let began = Instant::now();
    let look = ["/opt/bascule/bascule", "converge", "mail", "--look"];
    loop {
        let (code, said) = world.source.tell(&look);
        if code == 0 {
            println!("{said}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it does not converge: {code}: {said}");
        std::thread::sleep(Duration::from_millis(500));
    }
    is_told("job.converged");

    // The accounts are locked: the final run, by hand, and both ends are equal.
    let deeds = traffic.end().expect("the writer had no trouble");
    println!("{deeds:?}");
    world.source.good(&["/opt/bascule/bascule", "service", "stop"]);
    let said = world.source.good(&["/opt/bascule/bascule", "run", "mail", "--final"]);
    println!("{said}");
    let runs = world.runs();
    println!("{}typed: {:?} at source and target", table(&runs), world.typed);
    let [from, to] =
        [world.source.path("/srv/mail"), there].map(|root| describe(&root, false).expect("a tree"));
    assert!(from.len() > messages, "{}", from.len());
    let found = differences(&from, &to);
    assert!(found.is_empty(), "{} differences: {:#?}", found.len(), &found[..found.len().min(20)]);
    assert_eq!(world.typed, [3, 2]);
}

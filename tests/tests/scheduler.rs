//! `bascule service run`: jobs when they are due, told in the log, read anew, ended in order.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Stdio};

use bascule_tests::job::World;
use bascule_tests::peer::{Daemon, Whose};
use bascule_tests::relay::Relay;
use bascule_tests::scratch::{T0, file, noise};
use bascule_tests::sinks::HttpSink;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running service and its log.
struct Service {
    child: Child,
    log: std::io::Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Service {
    fn start(world: &World) -> Self {
        let mut command = world.command(&["service", "run", "--log-format=json"]);
        // Notices go to this machine, whatever proxy the environment names.
        command.env("NO_PROXY", "127.0.0.1");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self { child, log, said: Vec::new() }
    }

    /// Waits for the event `name` for which `is_it` holds.
    fn wait_for(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        for line in self.log.by_ref() {
            let line = line.expect("text");
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            self.said.push(line);
            if event["event"] == name && is_it(&event) {
                return event;
            }
        }
        panic!("it ended before {name}: {:#?}", self.said);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn code(&mut self) -> Option<i32> {
        // Whoever waits has to go on reading.
        let rest: Vec<String> = self.log.by_ref().map_while(Result::ok).collect();
        self.said.extend(rest);
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OFTEN: &str = "schedule.every = \"1s\"\noptions = [\"--retries=0\"]\n\
    goal = { under = \"1h\", max_files = 2 }\n";

fn is_complete(files: u64) -> impl Fn(&Value) -> bool {
    move |event| event["verdict"] == "complete" && event["files_sent"] == files
}

#[test]
fn runs_what_is_due_and_follows_its_configuration() {
    let mut world = World::new(Whose::Ours, OFTEN);
    let mut service = Service::start(&world);
    let ready = service.wait_for("service.ready", |_| true);
    assert_eq!(ready["jobs"], 1, "{ready}");
    service.wait_for("run.ended", is_complete(4));
    service.wait_for("job.verdict", |event| event["verdict"] == "converging");
    world.assert_equal();
    world.write("joe/inbox/new.imap");
    service.wait_for("run.ended", is_complete(1));
    service.wait_for("job.verdict", |event| event["verdict"] == "converged");
    assert!(
        !service.said.iter().any(|line| line.contains("new.imap")),
        "logs do not name messages: {:#?}",
        service.said
    );

    // A bad configuration changes nothing, a good one counts at once.
    let port = world.daemon.port;
    world.configure(port, "schedule.evry = \"1s\"\n");
    service.signal(Signal::HUP);
    let bad = service.wait_for("config.bad", |_| true);
    assert!(bad["error"].as_str().is_some_and(|text| text.contains("line")), "{bad}");
    world.write("joe/inbox/still.imap");
    service.wait_for("run.ended", is_complete(1));
    let second = format!(
        "{OFTEN}[jobs.copy]\nsources = [\"{}/\"]\ntarget = \"{}\"\nschedule.every = \"1s\"\n",
        world.at("from").display(),
        world.at("copy").display(),
    );
    world.configure(port, &second);
    service.signal(Signal::HUP);
    service.wait_for("config.reloaded", |event| event["jobs"] == 2);
    service.wait_for("run.ended", |event| event["job"] == "copy" && event["verdict"] == "complete");
    assert!(world.at("copy/joe/inbox/still.imap").exists());

    // The daemon goes and comes back.
    let config = world.daemon_config();
    world.daemon.end();
    service.wait_for("run.failed", |event| event["job"] == "mail");
    world.write("joe/inbox/later.imap");
    world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &config, "127.0.0.1", port);
    service.wait_for("run.ended", |event| event["job"] == "mail" && event["files_sent"] == 1);
    world.assert_equal();

    service.signal(Signal::TERM);
    assert_eq!(service.code(), Some(0), "{:#?}", service.said);
    assert!(service.said.iter().any(|line| line.contains("service.stopped")));
}

#[test]
fn after_the_final_run_it_leaves_the_target_alone() {
    let world = World::new(Whose::Ours, OFTEN);
    let second = format!(
        "{OFTEN}[jobs.copy]\nsources = [\"{}/\"]\ntarget = \"{}\"\nschedule.every = \"1s\"\n",
        world.at("from").display(),
        world.at("copy").display(),
    );
    world.configure(world.daemon.port, &second);
    let mut service = Service::start(&world);
    service.wait_for("run.ended", |event| event["job"] == "mail");
    // The service may be running it in this moment.
    let is_done = || world.bascule(&["run", "mail", "--final", "--quiet"]).code == 0;
    assert!((0..100).any(|_| is_done()), "no final run");
    service.wait_for("job.switched", |event| event["job"] == "mail");
    let at = world.at("to/joe/inbox/live.imap");
    std::fs::write(&at, "new mail").expect("a file");
    let before = service.said.len();
    for _ in 0..3 {
        service.wait_for("run.ended", |event| event["job"] == "copy");
    }
    assert!(at.exists(), "the mail of the new server is gone");
    let mails = |line: &String| line.contains("run.started") && line.contains("\"mail\"");
    assert!(!service.said[before..].iter().any(mails), "{:#?}", service.said);
    assert!(world.bascule(&["status"]).said.contains("switched"));
    let refused = world.bascule(&["converge", "mail", "--under=1m"]);
    assert!(refused.code == 1 && refused.said.contains("its schedule rests"), "{}", refused.said);
    assert!(at.exists());

    // A second final run that fails, or a run of all jobs, sets nothing going.
    world.configure(1, &second);
    assert_ne!(world.bascule(&["run", "mail", "--final", "--quiet"]).code, 0);
    world.configure(world.daemon.port, &second);
    let all = world.bascule(&["run", "--all", "--quiet"]);
    assert!(all.said.contains("its schedule rests") && at.exists(), "{}", all.said);

    // The switch is called off.
    let again = world.bascule(&["run", "mail", "--quiet"]);
    assert!(again.code == 0 && again.said.contains("an ordinary job again"), "{}", again.said);
    assert!(!at.exists());
    service.signal(Signal::HUP);
    service.wait_for("run.ended", |event| event["job"] == "mail");
    world.assert_equal();
}

#[test]
fn told_to_stop_it_interrupts_a_run_that_the_next_start_goes_on_with() {
    let world = World::new(Whose::Ours, OFTEN);
    file(&world.at("from"), b"joe/big", &noise(1, 8 << 20), 0o644, (T0, 5)).expect("a file");
    let relay = Relay::before(world.daemon.port);
    relay.allow_until_silence(2 << 20);
    world.configure(relay.port, OFTEN);
    let mut service = Service::start(&world);
    service.wait_for("run.started", |_| true);
    while relay.left() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    service.signal(Signal::TERM);
    service.wait_for("run.ended", |event| event["verdict"] == "interrupted");
    assert_eq!(service.code(), Some(0), "{:#?}", service.said);
    world.configure(world.daemon.port, OFTEN);
    let mut service = Service::start(&world);
    service.wait_for("run.ended", |event| event["verdict"] == "complete");
    service.signal(Signal::TERM);
    assert_eq!(service.code(), Some(0));
    world.assert_equal();
    let history = world.json(&["history", "--json"]);
    assert_eq!(history[0]["verdict"], "interrupted", "{history}");
}

#[test]
fn killed_in_a_run_it_says_so_and_goes_on_at_its_next_start() {
    let world = World::new(Whose::Ours, "");
    file(&world.at("from"), b"joe/big", &noise(1, 8 << 20), 0o644, (T0, 5)).expect("a file");
    let http = HttpSink::on(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let relay = Relay::before(world.daemon.port);
    relay.allow_until_silence(2 << 20);
    let settings = format!(
        "schedule.every = \"9h\"\noptions = [\"--retries=0\"]\n\
         [notify.webhook]\nurl = \"http://127.0.0.1:{}/\"\n",
        http.address().port()
    );
    world.configure(relay.port, &settings);
    let mut service = Service::start(&world);
    service.wait_for("run.started", |_| true);
    while relay.left() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(service);
    world.configure(world.daemon.port, &settings);
    let mut service = Service::start(&world);
    service.wait_for("run.cut_off", |event| event["job"] == "mail" && event["run"] == 1);
    service.wait_for("run.ended", |event| event["verdict"] == "complete");
    world.assert_equal();
    for event in ["run.cut_off", "run.recovered"] {
        let post = http.wait_for(|post| post.json()["event"] == event).json();
        assert_eq!(post["job"], "mail", "{post}");
    }
    service.signal(Signal::TERM);
    assert_eq!(service.code(), Some(0));
    let history = world.json(&["history", "--json"]);
    assert_eq!(history[0]["verdict"], "cut off", "{history}");
}

#[test]
fn says_why_it_cannot_start() {
    let world = World::new(Whose::Ours, "nonsense = 1\n");
    let mut service = Service::start(&world);
    service.wait_for("service.unstarted", |event| {
        event["error"].as_str().is_some_and(|text| text.contains("nonsense"))
    });
    assert_eq!(service.code(), Some(1));
    // A job without a schedule is nothing for a service.
    world.configure(world.daemon.port, "");
    let ran = world.bascule(&["service", "install", "--print"]);
    assert!(ran.code == 1 && ran.said.contains("schedule.every"), "{}", ran.said);
    world.configure(world.daemon.port, "schedule.every = \"15m\"\n");
    let ran = world.bascule(&["service", "install", "--print"]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let state = world.at("state").display().to_string();
    for line in ["Type=notify", "CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n", &state] {
        assert!(ran.said.contains(line), "{line}: {}", ran.said);
    }
}

//! Notices by mail and by webhook, as a real SMTP server and a real HTTP server get them.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use bascule_tests::job::World;
use bascule_tests::peer::{Daemon, Whose, free_port};
use bascule_tests::sinks::{HttpSink, Mail, Post, SmtpSink};
use rustix::process::{Pid, Signal, kill_process};

/// A running service; dropping it ends the process.
struct Service(Child);

impl Service {
    fn start(world: &World) -> Self {
        let mut command = world.command(&["service", "run", "--log-format=json"]);
        // Notices go to this machine, whatever proxy the environment names.
        let log = std::fs::File::create(world.at("service.log")).expect("a file");
        let child = command.env("NO_PROXY", "127.0.0.1").stderr(log).spawn().expect("it starts");
        Self(child)
    }

    /// Ends it in order.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// A job that runs every second, and where its notices go.
fn often(mail: Option<u16>, webhook: Option<u16>) -> String {
    let mut text = "schedule.every = \"1s\"\noptions = [\"--retries=0\"]\n\
                    guard = { percent = 0, names = 0 }\n"
        .to_owned();
    if let Some(port) = mail {
        text.push_str(&format!(
            "[notify.mail]\nserver = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\n\
             from = \"Bascule <bascule@example.com>\"\nto = [\"admin@example.com\"]\n"
        ));
    }
    if let Some(port) = webhook {
        text.push_str(&format!(
            "[notify.webhook]\nurl = \"http://127.0.0.1:{port}/hooks/a-secret\"\n"
        ));
    }
    text
}

fn about(event: &'static str) -> impl Fn(&Post) -> bool {
    move |post| post.json()["event"] == event
}

fn number_of(http: &HttpSink, event: &'static str) -> usize {
    http.messages().iter().filter(|post| about(event)(post)).count()
}

#[test]
fn a_night_in_which_much_happens_is_told_once_each_by_mail_and_by_webhook() {
    let (smtp, http) = (SmtpSink::on(listener()), HttpSink::on(listener()));
    let mut world = World::new(Whose::Ours, "");
    let settings = often(Some(smtp.address().port()), Some(http.address().port()));
    let port = world.daemon.port;
    world.configure(port, &settings);
    let service = Service::start(&world);

    let converged = http.wait_for(about("job.converged"));
    assert_eq!(converged.json()["job"], "mail", "{}", converged.body);
    smtp.wait_for(|mail| mail.subject().contains("mail: converged"));

    // Every file goes: the guard holds them back.
    std::fs::remove_dir_all(world.at("from/ann")).expect("it is there");
    let held = smtp.wait_for(|mail| mail.subject().contains("deletions are held back"));
    for part in ["bascule diff mail --config=", "--allow-deletes NUM"] {
        assert!(held.body.contains(part), "{part}: {}", held.body);
    }
    http.wait_for(about("guard.tripped"));
    assert!(world.at("to/ann/inbox/1.imap").exists());

    // The daemon goes, for several runs, and comes back.
    let config = world.daemon_config();
    world.daemon.end();
    let failed = smtp.wait_for(|mail| mail.subject().ends_with("mail: a run failed"));
    assert_eq!(
        (&failed.from[..], &failed.to[..]),
        ("bascule@example.com", &["admin@example.com".to_owned()][..])
    );
    assert!(
        failed.body.contains("exit code 10") && failed.body.contains("bascule check mail"),
        "{failed:#?}"
    );
    let post = http.wait_for(about("run.failed"));
    let document = post.json();
    assert_eq!((&document["version"], &document["job"]), (&1.into(), &"mail".into()), "{document}");
    assert_eq!(
        (&document["details"]["exit_code"], &post.path[..]),
        (&10.into(), "/hooks/a-secret")
    );
    assert!(
        document["text"]
            .as_str()
            .is_some_and(|text| text == failed.body.trim_end_matches('\n').to_owned() + "\n"),
        "{document}"
    );
    assert!(
        failed
            .header("Message-ID")
            .is_some_and(|id| document["id"].as_str().is_some_and(|known| id.contains(known))),
        "{failed:#?}"
    );
    let failures = || {
        let runs = world.json(&["history", "--json", "-n", "1000"]);
        let runs = runs.as_array().cloned().unwrap_or_default();
        runs.iter().filter(|run| run["verdict"] == "failed").count()
    };
    let began = std::time::Instant::now();
    while failures() < 2 {
        assert!(began.elapsed().as_secs() < 120, "runs go on failing");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &config, "127.0.0.1", port);
    let recovered = smtp.wait_for(|mail| mail.subject().ends_with("mail: runs work again"));
    assert!(recovered.body.contains("Since:"), "{}", recovered.body);
    http.wait_for(about("run.recovered"));
    service.stop();
    for event in ["job.converged", "guard.tripped", "run.failed", "run.recovered"] {
        assert_eq!(number_of(&http, event), 1, "{event}: {:#?}", http.messages());
    }
    assert_eq!(smtp.messages().len(), http.messages().len());
    // What failed runs and held deletions come to has no notice beside theirs.
    assert_eq!(number_of(&http, "job.blocked"), 0);
    let log = std::fs::read_to_string(world.at("service.log")).expect("a log");
    assert!(log.contains("notice.sent") && !log.contains("a-secret"), "{log}");
}

#[test]
fn what_cannot_be_sent_waits_through_a_restart_and_arrives_once() {
    let world = World::new(Whose::Ours, "");
    let (mail, post) = (free_port(), listener());
    let http = HttpSink::on(post);
    http.answer(503);
    world.configure(world.daemon.port, &often(Some(mail), Some(http.address().port())));
    // By hand: what comes of it is not held up by servers that are away.
    let ran = world.bascule(&["converge", "mail", "--times=1", "--under=1h"]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!(http.messages(), []);
    let service = Service::start(&world);
    let log = || std::fs::read_to_string(world.at("service.log")).unwrap_or_default();
    let began = std::time::Instant::now();
    while log().matches("notice.failed").count() < 2 {
        assert!(began.elapsed().as_secs() < 120, "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Killed in the middle of it.
    drop(service);
    let service = Service::start(&world);
    let smtp = SmtpSink::on(TcpListener::bind(("127.0.0.1", mail)).expect("it is free"));
    http.answer(200);
    let converged = |mail: &Mail| mail.subject().contains("mail: converged");
    smtp.wait_for(converged);
    http.wait_for(about("job.converged"));
    service.stop();
    assert_eq!(smtp.messages().iter().filter(|mail| converged(mail)).count(), 1);
    assert_eq!(number_of(&http, "job.converged"), 1);
}

#[test]
fn only_the_events_that_were_asked_for_are_told() {
    let http = HttpSink::on(listener());
    let world = World::new(Whose::Ours, "");
    let settings = format!(
        "{}[notify]\nevents = [\"guard.tripped\"]\n",
        often(None, Some(http.address().port()))
    );
    world.configure(world.daemon.port, &settings);
    assert_eq!(world.bascule(&["run", "mail"]).code, 0);
    std::fs::remove_dir_all(world.at("from/ann")).expect("it is there");
    assert_eq!(world.bascule(&["converge", "mail", "--max-runs=1"]).code, 42);
    let events: Vec<_> = http.messages().iter().map(|post| post.json()["event"].clone()).collect();
    assert_eq!(events, ["guard.tripped"]);
    let wrong = settings.replace("guard.tripped", "guard.triped");
    world.configure(world.daemon.port, &wrong);
    let ran = world.bascule(&["run", "mail"]);
    assert!(ran.code == 1 && ran.said.contains("the events are: run.failed"), "{}", ran.said);
}

#[test]
fn a_digest_comes_at_its_time_of_the_day() {
    let smtp = SmtpSink::on(listener());
    let world = World::new(Whose::Ours, "");
    // The next minute that begins in no less than five seconds, as this machine's clock shows it.
    let mut command = std::process::Command::new("date");
    let output = command.args(["-d", "65 seconds", "+%H:%M"]).output().expect("date is there");
    let time = String::from_utf8(output.stdout).expect("text");
    let settings = format!(
        "{}[notify]\ndigest = \"{}\"\n",
        often(Some(smtp.address().port()), None),
        time.trim()
    );
    world.configure(world.daemon.port, &settings);
    let service = Service::start(&world);
    let digest = smtp.wait_for(|mail| mail.subject().contains("digest: "));
    for part in
        ["\nmail: ", "4 files sent (3.9 KiB), 0 deleted, 0 problems", "# 0 s\n", "the final run"]
    {
        assert!(digest.body.contains(part), "{part}: {}", digest.body);
    }
    service.stop();
}

#[test]
fn notify_tries_every_way_and_says_what_came_of_it() {
    let smtp = SmtpSink::on(listener());
    let world = World::new(Whose::Ours, "");
    let ran = world.bascule(&["notify"]);
    assert!(ran.code == 1 && ran.said.contains("[notify.mail]"), "{}", ran.said);
    let mail = smtp.address().port();
    world.configure(world.daemon.port, &often(Some(mail), Some(free_port())));
    let mut child = world.command(&["notify"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said}");
    assert!(said.contains("mail: sent to admin@example.com"), "{said}");
    assert!(
        said.contains("webhook: NOT sent to 127.0.0.1:") && !said.contains("a-secret"),
        "{said}"
    );
    assert!(smtp.wait_for(|_| true).subject().contains("a test of the notices"));
}

#[test]
fn one_recipient_whom_the_server_does_not_know_keeps_the_mail_from_nobody_else() {
    let smtp = SmtpSink::refusing(listener(), "gone@example.com");
    let world = World::new(Whose::Ours, "");
    let settings = often(Some(smtp.address().port()), None)
        .replace("[\"admin@example.com\"]", "[\"gone@example.com\", \"admin@example.com\"]");
    world.configure(world.daemon.port, &settings);
    let ran = world.bascule(&["notify"]);
    assert!(ran.code == 1 && ran.said.contains("but NOT to gone@example.com: "), "{}", ran.said);
    let mails = smtp.messages();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_eq!(mails[0].to, ["admin@example.com"]);
    assert_eq!(mails[0].header("MIME-Version"), Some("1.0"));
    let service = Service::start(&world);
    smtp.wait_for(|mail| mail.subject().contains("mail: converged"));
    service.stop();
    let log = std::fs::read_to_string(world.at("service.log")).expect("a log");
    assert!(log.contains("notice.refused") && !log.contains("notice.failed"), "{log}");
}

#[test]
fn a_mail_server_that_trickles_holds_up_neither_the_other_way_nor_a_command() {
    let (trickle, http) = (listener(), HttpSink::on(listener()));
    let mail = trickle.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in trickle.incoming().map_while(Result::ok) {
            // Until the client goes.
            std::thread::spawn(move || {
                while stream.write_all(b"2").is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
            });
        }
    });
    let world = World::new(Whose::Ours, "");
    world.configure(world.daemon.port, &often(Some(mail), Some(http.address().port())));
    assert_eq!(world.bascule(&["converge", "mail", "--times=1", "--under=1h"]).code, 0);
    http.wait_for(about("job.converged"));
    let ran = world.bascule(&["notify"]);
    assert!(ran.code == 1 && ran.said.contains("did not take it in 45 s"), "{}", ran.said);
    assert!(ran.said.contains("webhook: sent to"), "{}", ran.said);
}

#[test]
fn disks_with_too_little_room_are_told_and_what_cannot_even_begin() {
    let http = HttpSink::on(listener());
    let world = World::new(Whose::Ours, "");
    let target = format!("rsync://127.0.0.1:{}/mail/", world.daemon.port);
    let settings =
        format!("{}[notify]\ndisk_low = \"8000t\"\n", often(None, Some(http.address().port())));
    world.configure(world.daemon.port, &settings);
    let file = world.at("bascule.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let here = text.replace(&target, &world.at("to").display().to_string());
    assert_ne!(here, text);
    std::fs::write(&file, here).expect("a file");
    // By hand it is told as well.
    assert_eq!(world.bascule(&["run", "mail"]).code, 0);
    let low = http.wait_for(about("disk.low")).json();
    assert_eq!((&low["job"], &low["details"]["disk"]), (&"mail".into(), &"target".into()), "{low}");

    let text = text.replace("[notify.", "[jobs.mail.password]\ncredential = \"none\"\n[notify.");
    std::fs::write(&file, text).expect("a file");
    let service = Service::start(&world);
    let is_of_state = |post: &Post| post.json()["details"]["disk"] == "state";
    assert!(http.wait_for(is_of_state).json()["job"].is_null());
    let failed = http.wait_for(about("run.failed")).json();
    assert!(
        failed["text"].as_str().is_some_and(|text| text.contains("could not be begun")),
        "{failed}"
    );
    service.stop();
}

#[test]
fn a_service_without_its_history_says_so_once_and_is_started_again() {
    let http = HttpSink::on(listener());
    let world = World::new(Whose::Ours, "");
    world.configure(world.daemon.port, &often(None, Some(http.address().port())));
    let file = world.at("state/history.sqlite3");
    std::fs::create_dir_all(world.at("state")).expect("a folder");
    std::fs::write(&file, "nothing that SQLite knows").expect("a file");
    for _ in 0..2 {
        let mut service = Service::start(&world);
        // The unit that is installed gives up after exit code 1 alone.
        assert_eq!(service.0.wait().expect("it ends").code(), Some(11));
        let log = std::fs::read_to_string(world.at("service.log")).expect("a log");
        assert!(log.contains("service.unstarted"), "{log}");
    }
    let told = http.wait_for(about("history.unusable"));
    let document = told.json();
    assert!(document["details"]["error"].as_str().is_some_and(|text| text.contains("history")));
    assert_eq!(number_of(&http, "history.unusable"), 1);

    // Put aside, as the notice says.
    std::fs::rename(&file, world.at("damaged")).expect("renamed");
    let service = Service::start(&world);
    http.wait_for(about("job.converged"));
    service.stop();
    assert!(!world.at("state/history.unusable").exists());
    world.assert_equal();
}

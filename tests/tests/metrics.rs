//! Metrics and health of both programs, as Prometheus sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};

use bascule_tests::job::World;
use bascule_tests::peer::{Daemon, Whose, free_port, mirror};
use bascule_tests::scrape::{Scraped, get, promtool, words};
use bascule_tests::scratch::{T0, file, noise};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Writes what the daemon needs besides its configuration.
fn secrets(root: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(root.join("tls.crt"), made.cert.pem()).expect("a file");
    for (name, text) in
        [("tls.key", made.signing_key.serialize_pem()), ("secrets", "joe:right-word-here\n".into())]
    {
        file(root, name.as_bytes(), text.as_bytes(), 0o600, (T0, 0)).expect("a file");
    }
}

/// What stands in a file of the project.
fn text(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace");
    std::fs::read_to_string(root.join(name)).expect("UTF-8")
}

/// The tables of docs/metrics.md name exactly what was scraped, with types and labels; rules and
/// dashboard use nothing else. `prefix` is that of the program's metrics.
fn assert_documented(prefix: &str, scraped: &Scraped) {
    let doc = text("docs/metrics.md");
    let rows = doc.lines().filter(|line| line.starts_with(&format!("| `{prefix}")));
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let known: BTreeMap<String, (String, BTreeSet<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), quoted(cells[3])))
        })
        .collect();
    assert_eq!(known, scraped.families(), "docs/metrics.md and what was scraped");
    for name in [RULES, "contrib/prometheus/bascule-rules-test.yml", "contrib/grafana/bascule.json"]
    {
        let used = words(&text(name), prefix);
        assert!(!used.is_empty(), "{name} uses metrics");
        let unknown: Vec<&String> = used.iter().filter(|word| !known.contains_key(*word)).collect();
        assert!(unknown.is_empty(), "{name} uses what there is not: {unknown:?}");
    }
}

const RULES: &str = "contrib/prometheus/bascule-rules.yml";

/// A daemon's configuration with two modules and its metrics at `port`.
fn modules(root: &Path, port: u16) -> String {
    let root = root.display();
    format!(
        "metrics address = 127.0.0.1:{port}\nuse chroot = no\nuid = root\ngid = root\n\
         tls certificate = {root}/tls.crt\ntls key = {root}/tls.key\n\
         [mail]\npath = {root}/to\nread only = no\n\
         [locked]\npath = {root}/to\nauth users = joe\nsecrets file = {root}/secrets\nstrict modes = no\n"
    )
}

#[test]
fn the_daemon_counts_what_it_does_and_says_what_is_wrong() {
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path();
    std::fs::create_dir(root.join("to")).expect("a folder");
    secrets(root);
    for (seed, name) in ["a/1", "a/2", "b/3"].iter().enumerate() {
        file(&root.join("from"), name.as_bytes(), &noise(seed as u64, 2000), 0o644, (T0, 0))
            .expect("a file");
    }
    let at = free_port();
    let daemon = Daemon::start(Whose::Ours, root, &modules(root, at));
    let before = Scraped::from(at);
    for (sample, value) in [
        ("basculed_config_good", 1.0),
        ("basculed_module_ready{module=\"mail\"}", 1.0),
        ("basculed_files_total{module=\"mail\",direction=\"push\"}", 0.0),
        ("basculed_transfers{module=\"mail\"}", 0.0),
        ("basculed_refused_total{step=\"login\"}", 0.0),
    ] {
        assert_eq!(before.get(sample), Some(value), "{sample}: {}", before.text);
    }
    assert!(before.get("basculed_module_free_bytes{module=\"mail\"}") > Some(0.0));
    let (status, health) = get(at, "/healthz");
    assert_eq!(status, 200, "{health}");

    let (from, port) = (format!("{}/", root.join("from").display()), daemon.port);
    let to = format!("rsync://127.0.0.1:{port}/mail/");
    let ran = mirror(Whose::Ours, &[], None, [&from, &to]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    std::fs::remove_file(root.join("from/a/2")).expect("removed");
    let ran = mirror(Whose::Rsync, &[], None, [&from, &to]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let locked = format!("rsync://joe@127.0.0.1:{port}/locked/");
    let back = root.join("back").display().to_string();
    let ran = mirror(Whose::Ours, &[], Some("wrong"), [&locked, &back]);
    assert_ne!(ran.code, 0, "{}", ran.said);
    let ran = mirror(Whose::Ours, &[], Some("right-word-here"), [&locked, &back]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let unknown = format!("rsync://127.0.0.1:{port}/none/");
    assert_ne!(mirror(Whose::Ours, &[], None, [&from, &unknown]).code, 0);

    // A session is counted when the daemon has closed its own end.
    let pulled = "basculed_sessions_total{module=\"locked\",direction=\"pull\",code=\"0\"}";
    let refused = "basculed_refused_total{step=\"module\"}";
    let after = Scraped::until(at, |found| {
        found.get(pulled) == Some(1.0)
            && found.get("basculed_sessions_total{module=\"mail\",direction=\"push\",code=\"0\"}")
                == Some(2.0)
            && found.get(refused) == Some(1.0)
            && found.get("basculed_clients{state=\"transferring\"}") == Some(0.0)
    });
    for (sample, value) in [
        ("basculed_files_total{module=\"mail\",direction=\"push\"}", 3.0),
        ("basculed_files_total{module=\"locked\",direction=\"pull\"}", 2.0),
        ("basculed_deleted_total{module=\"mail\"}", 1.0),
        ("basculed_login_failures_total{module=\"locked\"}", 1.0),
        ("basculed_refused_total{step=\"login\"}", 1.0),
        ("basculed_connections_total{outcome=\"transferred\"}", 3.0),
        ("basculed_transfers{module=\"mail\"}", 0.0),
    ] {
        assert_eq!(after.get(sample), Some(value), "{sample}: {}", after.text);
    }
    assert!(after.get("basculed_read_bytes_total{module=\"mail\"}") > Some(6000.0));
    promtool(&["check", "metrics"], &after.text);
    assert_documented("basculed_", &after);
    let expires = after.get("basculed_certificate_expiry_timestamp_seconds");
    assert!(expires > Some(1_700_000_000.0), "{expires:?}");

    // A module without its folder is no module, and a configuration that makes no sense is none.
    std::fs::rename(root.join("to"), root.join("gone")).expect("renamed");
    let (status, health) = get(at, "/healthz");
    assert!(status == 503 && health.contains("module mail: its path"), "{health}");
    assert_eq!(Scraped::from(at).get("basculed_module_ready{module=\"mail\"}"), Some(0.0));
    std::fs::rename(root.join("gone"), root.join("to")).expect("renamed");
    let conf = root.join(format!("daemon-{port}.conf"));
    let good = std::fs::read_to_string(&conf).expect("a file");
    std::fs::write(&conf, format!("{good}nonsense = 1\n")).expect("a file");
    let (status, health) = get(at, "/healthz");
    assert!(status == 503 && health.contains("nonsense"), "{health}");
    assert_eq!(Scraped::from(at).get("basculed_config_good"), Some(0.0));
    let here = root.display();
    std::fs::write(&conf, format!("{good}mounted on = {here}\n")).expect("a file");
    let (status, health) = get(at, "/healthz");
    assert!(status == 503 && health.contains("no disk is mounted at"), "{health}");
    std::fs::write(&conf, good).expect("a file");
    assert_eq!(get(at, "/healthz").0, 200);
}

#[test]
fn a_port_that_is_taken_keeps_no_module_from_being_served() {
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path();
    secrets(root);
    file(&root.join("to"), b"x", b"x", 0o644, (T0, 0)).expect("a file");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("an address").port();
    let daemon = Daemon::start(Whose::Ours, root, &modules(root, at));
    let from = format!("rsync://127.0.0.1:{}/mail/", daemon.port);
    let back = root.join("back").display().to_string();
    let ran = mirror(Whose::Ours, &[], None, [&from, &back]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let log = std::fs::read_to_string(root.join(format!("daemon-{}.log", daemon.port)));
    let log = log.expect("a log");
    assert!(log.contains("metrics.unavailable") && log.contains(&at.to_string()), "{log}");
}

/// `bascule service run`, until it is dropped.
struct Service(Child);

impl Service {
    fn start(world: &World) -> Self {
        let mut command = world.command(&["service", "run"]);
        Self(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }

    fn reload(&self) {
        kill_process(Pid::from_child(&self.0), Signal::HUP).expect("it runs");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A job that is run all the time, and metrics at `port`.
fn often(port: u16) -> String {
    format!(
        "schedule.every = \"1s\"\noptions = [\"--retries=0\"]\ngoal = {{ under = \"1h\" }}\n\
         [metrics]\nlisten = \"127.0.0.1:{port}\"\n"
    )
}

const COMPLETE: &str = "bascule_job_runs_total{job_name=\"mail\",verdict=\"complete\"}";

#[test]
fn the_service_tells_of_its_runs_and_remembers_them() {
    let mut world = World::new(Whose::Ours, "");
    let at = free_port();
    world.configure(world.daemon.port, &often(at));
    let service = Service::start(&world);
    let first = Scraped::until(at, |found| found.get(COMPLETE) >= Some(2.0));
    for (sample, value) in [
        ("bascule_config_good", 1.0),
        ("bascule_history_usable", 1.0),
        ("bascule_job_scheduled{job_name=\"mail\"}", 1.0),
        ("bascule_job_failures_in_a_row{job_name=\"mail\"}", 0.0),
        ("bascule_job_last_run_exit_code{job_name=\"mail\"}", 0.0),
        ("bascule_job_last_run_verdict{job_name=\"mail\",verdict=\"complete\"}", 1.0),
        ("bascule_job_last_run_verdict{job_name=\"mail\",verdict=\"failed\"}", 0.0),
        ("bascule_job_last_run_listed_files{job_name=\"mail\"}", 4.0),
    ] {
        assert_eq!(first.get(sample), Some(value), "{sample}: {}", first.text);
    }
    promtool(&["check", "metrics"], &first.text);
    let (status, health) = get(at, "/healthz");
    assert_eq!(status, 200, "{health}");
    let began = "bascule_job_last_run_begin_timestamp_seconds{job_name=\"mail\"}";
    assert!(first.get(began) > Some(1_700_000_000.0), "{}", first.text);
    let full = Scraped::until(at, |found| {
        found.get("bascule_job_series_verdict{job_name=\"mail\",verdict=\"converged\"}")
            == Some(1.0)
            && found.get("bascule_job_forecast_seconds{job_name=\"mail\",run=\"final\"}")
                > Some(0.0)
    });
    promtool(&["check", "metrics"], &full.text);
    assert_documented("bascule_", &full);

    // A bad configuration, and a good one with its metrics elsewhere.
    let port = world.daemon.port;
    world.configure(port, "nonsense = 1\n");
    service.reload();
    Scraped::until(at, |found| found.get("bascule_config_good") == Some(0.0));
    let (status, health) = get(at, "/healthz");
    assert!(status == 503 && health.contains("nonsense"), "{health}");
    let elsewhere = free_port();
    world.configure(port, &often(elsewhere));
    service.reload();
    let moved = Scraped::until(elsewhere, |found| found.get("bascule_config_good") == Some(1.0));
    assert!(moved.get(COMPLETE) >= first.get(COMPLETE), "{}", moved.text);

    // The target goes.
    let config = world.daemon_config();
    world.daemon.end();
    let failing = Scraped::until(elsewhere, |found| {
        found.get("bascule_job_failures_in_a_row{job_name=\"mail\"}") >= Some(1.0)
    });
    let failed = "bascule_job_runs_total{job_name=\"mail\",verdict=\"failed\"}";
    assert!(failing.get(failed) >= Some(1.0), "{}", failing.text);
    drop(service);

    // Another start of the service knows what was before it.
    world.configure(port, &often(at).replace("1s", "1h"));
    let _service = Service::start(&world);
    let again = Scraped::until(at, |found| found.get(began).is_some());
    assert_eq!(again.get(failed), Some(0.0), "{}", again.text);
    assert!(again.get("bascule_job_failures_in_a_row{job_name=\"mail\"}") >= Some(1.0));
    assert!(
        again.get("bascule_job_last_success_timestamp_seconds{job_name=\"mail\"}")
            >= first.get(began)
    );
    world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &config, "127.0.0.1", port);

    // A state folder that is none.
    std::fs::rename(world.at("state"), world.at("moved")).expect("renamed");
    std::fs::write(world.at("state"), "").expect("a file");
    let (status, health) = get(at, "/healthz");
    assert!(status == 503 && health.contains("the state folder cannot be used"), "{health}");
    assert_eq!(Scraped::from(at).get("bascule_history_usable"), Some(0.0));
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace");
    promtool(&["check", "rules", &root.join(RULES).display().to_string()], "");
    let tests = root.join("contrib/prometheus/bascule-rules-test.yml");
    promtool(&["test", "rules", &tests.display().to_string()], "");
    let (rules, tests) = (text(RULES), text("contrib/prometheus/bascule-rules-test.yml"));
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in &alerts {
        let fires = format!("alertname=\"{alert}\"}}', value: 1");
        assert!(tests.contains(&fires), "no test in which {alert} fires");
    }
    for key in ["summary: ", "description: "] {
        assert_eq!(rules.matches(key).count(), alerts.len(), "each alert has a {key}");
    }
    // While all is well, there is a series of each metric that a rule looks at.
    let well = tests.split("promql_expr_test").next().expect("the first test");
    for prefix in ["bascule_", "basculed_"] {
        let exprs: String =
            rules.split("expr: ").skip(1).filter_map(|r| r.split("labels:").next()).collect();
        assert_eq!(words(&exprs, prefix), words(well, prefix));
    }
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() {
    let dashboard: Value =
        serde_json::from_str(&text("contrib/grafana/bascule.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables: BTreeSet<&str> = variables.iter().filter_map(|v| v["name"].as_str()).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "job", "module"]));
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let exprs: Vec<&str> = targets.map(|target| target["expr"].as_str().expect("text")).collect();
    assert!(exprs.len() > 20, "{exprs:?}");
    // As rules, so that promtool reads them.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expr) in exprs.iter().enumerate() {
        let expr = serde_json::to_string(expr).expect("text");
        rules.push_str(&format!("      - record: r{number}\n        expr: {expr}\n"));
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("rules.yml");
    std::fs::write(&path, rules).expect("a file");
    promtool(&["check", "rules", &path.display().to_string()], "");
}

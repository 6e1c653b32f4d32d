//! The daemon as a service of a systemd that runs: installed, killed, reloaded, started by its
//! first client, stopped, removed.
#![cfg(target_os = "linux")]

use std::path::Path;

use bascule_tests::machine::Machine;
use bascule_tests::peer::program;

const BASCULED: &str = "/opt/bascule/basculed";
const CONFIG: &str = "[mail]\npath = /srv/mail\nread only = no\nuse chroot = no\nuid = 0\ngid = 0\n\
                      reverse lookup = no\nmunge symlinks = no\n";

fn machine(scratch: &Path) -> Machine {
    let program = program("basculed");
    let machine = Machine::start(scratch, program.parent().expect("a folder"));
    machine.good(&["mkdir", "-p", "/srv/mail", "/root/from"]);
    write(&machine, "/root/from/message", "hello");
    write(&machine, "/etc/basculed.conf", &format!("metrics address = 127.0.0.1:9874\n{CONFIG}"));
    machine
}

fn write(machine: &Machine, path: &str, text: &str) {
    machine.good(&["sh", "-c", "printf %s \"$2\" > \"$1\"", "sh", path, text]);
}

fn push(machine: &Machine, to: &str) {
    let url = format!("rsync://127.0.0.1/mail/{to}/");
    machine.good(&["rsync", "-a", "/root/from/", &url]);
    machine.good(&["cmp", "/root/from/message", &format!("/srv/mail/{to}/message")]);
}

fn main_process(machine: &Machine) -> String {
    let pid = machine.good(&["systemctl", "show", "basculed", "--property=MainPID", "--value"]);
    pid.trim().to_owned()
}

#[test]
fn a_service_lives_through_kill_reload_restart_and_stop() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let machine = machine(scratch.path());
    let service = |words: &[&str]| machine.tell(&[&[BASCULED, "service"], words].concat());
    assert_eq!(service(&["status"]).0, 4);
    assert_eq!(service(&["start"]).0, 1);
    let (code, said) = service(&["install"]);
    assert!(code == 0 && said.contains("basculed runs"), "{said}");
    let (code, said) = service(&["status"]);
    assert_eq!(code, 0, "{said}");
    for wanted in ["active (running)", "enabled at boot", "serving 1 module on 0.0.0.0:873"] {
        assert!(said.contains(wanted), "{said}");
    }
    push(&machine, "first");
    let ask =
        "exec 3<>/dev/tcp/127.0.0.1/9874; printf 'GET %s HTTP/1.0\r\n\r\n' \"$1\" >&3; cat <&3";
    let asked = |path: &str| machine.good(&["bash", "-c", ask, "bash", path]);
    assert!(asked("/healthz").contains("200 OK"), "{}", asked("/healthz"));
    let free = "basculed_module_free_bytes{module=\"mail\"} ";
    assert!(asked("/metrics").contains(free), "{}", asked("/metrics"));

    // The walls are up: nothing but the modules can be written.
    let first = main_process(&machine);
    let status = machine.good(&["cat", &format!("/proc/{first}/status")]);
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID, NET_BIND_SERVICE, MKNOD.
    assert!(status.contains("CapBnd:\t00000000080004df\n"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    let inside = |script: &str| {
        machine.tell(&["nsenter", "--mount", &format!("--target={first}"), "sh", "-c", script]).0
    };
    assert_eq!(inside("echo x > /srv/mail/mark && rm /srv/mail/mark"), 0);
    assert_ne!(inside("echo x > /etc/mark"), 0);
    assert_ne!(inside("echo x > /srv/mark"), 0);

    // Killed, it comes back by itself.
    machine.good(&["kill", "-KILL", &first]);
    let second = machine.until(
        &["systemctl", "show", "basculed", "--property=MainPID,SubState", "--value"],
        |said| said.contains("running") && !said.contains(&first),
    );
    assert!(!second.is_empty());
    push(&machine, "second");

    // Reloaded, it is the same process.
    let before = main_process(&machine);
    let more = CONFIG.replace("[mail]", "[more]");
    write(&machine, "/etc/basculed.conf", &format!("{CONFIG}{more}"));
    assert_eq!(service(&["reload"]), (0, String::new()));
    assert!(service(&["status"]).1.contains("serving 2 modules"));
    assert_eq!(main_process(&machine), before);
    assert_eq!(service(&["restart"]), (0, String::new()));
    assert_ne!(main_process(&machine), before);

    assert_eq!(service(&["stop"]), (0, String::new()));
    let (code, said) = service(&["status"]);
    assert!(code == 3 && said.contains("inactive"), "{said}");

    // The journal has the events, with their fields.
    let logs = ["logs", "-n", "500"];
    machine.until(&[&[BASCULED, "service"][..], &logs].concat(), |said| said.contains("stopped"));
    let logs = service(&logs).1;
    for wanted in ["transfer begins module=mail", "configuration reloaded modules=2", "stopping"] {
        assert!(logs.contains(wanted), "{wanted}: {logs}");
    }
    let by_field = ["journalctl", "--output=cat", "--no-pager", "BASCULE_EVENT=session.ended"];
    let ended = machine.good(&by_field);
    assert_eq!(ended.lines().count(), 2, "{ended}");

    // A configuration that makes no sense is not tried again and again.
    write(&machine, "/etc/basculed.conf", "[m]\nno such thing = 1\n");
    assert_eq!(service(&["start"]).0, 1);
    let (code, said) = service(&["status"]);
    assert!(code == 3 && said.contains("exit code 1"), "{said}");
    let (code, said) = service(&["uninstall"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(service(&["status"]).0, 4);
}

#[test]
fn a_service_without_root_is_started_by_its_first_client() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let machine = machine(scratch.path());
    let config = CONFIG.replace("uid = 0\ngid = 0\n", "uid = daemon\ngid = daemon\n");
    write(&machine, "/etc/basculed.conf", &config);
    machine.good(&["chown", "daemon:daemon", "/srv/mail"]);
    let install =
        [BASCULED, "service", "install", "--user=daemon", "--socket-activation", "--no-start"];
    machine.good(&install);
    machine.good(&["systemctl", "start", "basculed.socket"]);
    let state = || machine.tell(&["systemctl", "is-active", "basculed.service"]).1;
    assert_eq!(state().trim(), "inactive");
    push(&machine, "first");
    assert_eq!(state().trim(), "active");
    let process = main_process(&machine);
    let status = machine.good(&["cat", &format!("/proc/{process}/status")]);
    assert!(status.contains("CapPrm:\t0000000000000000\n"), "{status}");
    assert!(status.contains("Uid:\t1\t1\t1\t1\n"), "{status}");
    // The next client starts it again.
    machine.good(&["systemctl", "stop", "basculed.service"]);
    push(&machine, "second");
    let (code, said) = machine.tell(&[BASCULED, "service", "uninstall"]);
    assert_eq!(code, 0, "{said}");
    let listening = machine.tell(&["rsync", "rsync://127.0.0.1/"]);
    assert_eq!(listening.0, 10, "{}", listening.1);
}

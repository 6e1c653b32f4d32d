//! The packages: what they hold, the same bytes from the same sources, manual pages, completions, and
//! the Debian package installed, upgraded, removed and purged on a machine of its own.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bascule_tests::machine::Machine;
use bascule_tests::peer::program;

/// What may forbid that services are started when a package is installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// The moment that packages bear here: 2023-11-14T22:13:20Z.
const EPOCH: &str = "1700000000";

fn packaging(words: &[&str]) -> Command {
    let mut command = Command::new(program("bascule-packaging"));
    command.args(words).env("SOURCE_DATE_EPOCH", EPOCH);
    command
}

/// Runs a command that has to succeed; gives what it says on standard output.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Some program under the names of ours, which is soon packed.
fn stand_ins(scratch: &Path) -> String {
    let folder = scratch.join("programs");
    fs::create_dir(&folder).expect("a folder");
    for name in ["bascule", "basculed", "bascule.exe", "basculed.exe"] {
        fs::copy("/bin/true", folder.join(name)).expect("a program");
    }
    folder.to_str().expect("UTF-8").to_owned()
}

/// Makes a package; gives its path.
fn made(kind: &str, programs: &str, out: &Path) -> PathBuf {
    let out = out.to_str().expect("UTF-8");
    told(&mut packaging(&[kind, "--binaries", programs, out])).trim().into()
}

#[test]
fn the_debian_package_holds_what_debian_expects() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let package = made("deb", &stand_ins(scratch.path()), &scratch.path().join("out"));
    let version = env!("CARGO_PKG_VERSION");
    let name = package.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(name.starts_with(&format!("bascule_{version}")) && name.ends_with(".deb"), "{name}");
    let field = |name| told(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name));
    assert_eq!(field("Package").trim(), "bascule");
    // A state between two releases comes before the next.
    let own = field("Version").trim().to_owned();
    assert!(own == version || own == format!("{version}~20231114221320"), "{own}");
    assert!(field("Depends").starts_with("libc6 (>= "), "{}", field("Depends"));
    assert!(field("Maintainer").trim().ends_with('>') && !field("Description").is_empty());

    let contents = told(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let mut held = BTreeSet::new();
    for line in contents.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        let is_program = words[5].starts_with("./usr/bin/b");
        let wanted = if is_program || words[5].ends_with('/') { "rwxr-xr-x" } else { "rw-r--r--" };
        assert_eq!(&words[0][1..], wanted, "{line}");
        assert_eq!(words[3], "2023-11-14", "{line}");
        held.insert(words[5].trim_start_matches("./").to_owned());
    }
    for wanted in [
        "usr/bin/bascule",
        "usr/bin/basculed",
        "usr/share/man/man1/bascule.1.gz",
        "usr/share/man/man1/bascule-run.1.gz",
        "usr/share/man/man1/bascule-service-install.1.gz",
        "usr/share/man/man5/bascule.toml.5.gz",
        "usr/share/man/man8/basculed.8.gz",
        "usr/share/man/man8/basculed-init.8.gz",
        "usr/share/bash-completion/completions/bascule",
        "usr/share/zsh/vendor-completions/_basculed",
        "usr/share/fish/vendor_completions.d/bascule.fish",
        "usr/share/bascule/bascule.schema.json",
        "usr/share/doc/bascule/copyright",
        "usr/share/doc/bascule/THIRD-PARTY.gz",
        "usr/share/doc/bascule/changelog.gz",
        "usr/share/doc/bascule/README.md",
        "usr/share/doc/bascule/docs/jobs.md",
        "usr/share/doc/bascule/examples/bascule.toml",
    ] {
        assert!(held.contains(wanted), "no {wanted} in {held:?}");
    }
    // Nothing to be asked about at an upgrade, and nothing where administrators' own files are.
    let foreign = held.iter().filter(|path| !path.starts_with("usr/") && !path.is_empty());
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&String>::new());

    let control = scratch.path().join("control");
    told(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&control));
    for script in ["postinst", "prerm", "postrm"] {
        told(Command::new("dash").arg("-n").arg(control.join(script)));
    }
    let sums = fs::read_to_string(control.join("md5sums")).expect("sums");
    assert_eq!(sums.lines().count(), held.iter().filter(|path| !path.ends_with('/')).count() - 1);
}

#[test]
fn the_zip_holds_what_windows_needs() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = made("zip", &stand_ins(scratch.path()), &scratch.path().join("out"));
    let top = path.file_stem().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
    let mut zip = zip::ZipArchive::new(File::open(&path).expect("the zip")).expect("a zip");
    let mut read = |name: &str| {
        let mut bytes = Vec::new();
        let mut file =
            zip.by_name(&format!("{top}/{name}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        file.read_to_end(&mut bytes).expect("it is whole");
        bytes
    };
    assert_eq!(read("bascule.exe"), fs::read("/bin/true").expect("the stand-in"));
    assert_eq!(read("basculed.exe"), fs::read("/bin/true").expect("the stand-in"));
    for text in [
        "install.ps1",
        "README.txt",
        "LICENSE-MIT.txt",
        "LICENSE-APACHE.txt",
        "THIRD-PARTY.txt",
        "README.md",
        "docs/windows.md",
        "completions/bascule.ps1",
        "completions/basculed.ps1",
        "bascule.schema.json",
    ] {
        let bytes = String::from_utf8(read(text)).expect("a text");
        assert!(bytes.contains("\r\n") && !bytes.replace("\r\n", "").contains('\n'), "{text}");
        // Without a mark Windows PowerShell takes it for the code page's.
        assert!(bytes.is_ascii() || !text.starts_with("install"), "{text}");
    }
    let outside = zip.file_names().find(|name| !name.starts_with(&format!("{top}/")));
    assert_eq!(outside, None);
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let programs = stand_ins(scratch.path());
    for kind in ["deb", "zip"] {
        let make = |out: &str, zone: &str, mask: &str| {
            let out = scratch.path().join(out);
            let mut command = Command::new("sh");
            command.args(["-c", "umask $1; shift; exec \"$@\"", "sh", mask]);
            command.arg(program("bascule-packaging")).args([kind, "--binaries", &programs]);
            command.arg(out).env("TZ", zone).env("SOURCE_DATE_EPOCH", EPOCH);
            fs::read(told(&mut command).trim()).expect("the package")
        };
        let (one, other) = (make("one", "UTC", "022"), make("other", "Asia/Tokyo", "077"));
        assert!(one == other, "two of {kind} differ");
    }
}

#[test]
fn the_manual_pages_have_no_mistakes() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let folder = scratch.path().join("man");
    told(&mut packaging(&["man", folder.to_str().expect("UTF-8")]));
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("the pages") {
        let path = entry.expect("a page").path();
        let output = Command::new("man")
            .args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .output()
            .expect("man is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for part in ["NAME", "DESCRIPTION", "SEE ALSO"] {
            assert!(text.lines().any(|line| line == part), "{}: no {part}", path.display());
        }
        let tells_codes = text.contains("EXIT STATUS") && text.contains("some files vanished");
        let is_mirror = path.ends_with("bascule-mirror.1");
        assert!(tells_codes || !is_mirror, "{text}");
        seen.insert(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    // Each command that `--help` names has a page.
    for (name, section) in [("bascule", 1), ("basculed", 8)] {
        let help = told(Command::new(program(name)).arg("--help"));
        let (_, commands) = help.split_once("Commands:\n").expect("commands");
        let names = commands.lines().take_while(|line| !line.is_empty());
        // Long texts go on in further lines, which begin further in.
        let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
        assert!(names.len() > 3, "{help}");
        for command in names.into_iter().filter(|command| *command != "help") {
            assert!(seen.contains(&format!("{name}-{command}.{section}")), "{command}: {seen:?}");
        }
    }
    assert!(seen.contains("bascule.toml.5"));
}

#[test]
fn bash_completes_commands_and_options() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let folder = scratch.path().join("completions");
    told(&mut packaging(&["completions", folder.to_str().expect("UTF-8")]));
    let completed = |program: &str, line: &[&str]| {
        let script = "source \"$1\" && shift && COMP_WORDS=(\"$@\") && COMP_CWORD=$(($# - 1)) && \
                      _\"$1\" \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\" && \
                      echo \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash"]);
        bash.arg(folder.join(format!("{program}.bash"))).arg(program).args(line);
        told(&mut bash).trim().to_owned()
    };
    assert_eq!(completed("bascule", &["conv"]), "converge");
    assert_eq!(completed("bascule", &["mirror", "--delete-g"]), "--delete-guard");
    assert_eq!(completed("basculed", &["service", "un"]), "uninstall");
    assert_eq!(completed("basculed", &["serve", "--mod"]), "--module");
    for file in ["_bascule", "bascule.fish", "bascule.ps1", "_basculed", "basculed.fish"] {
        let text = fs::read_to_string(folder.join(file)).expect("a completion");
        assert!(text.contains("service"), "{file}");
    }
}

#[test]
fn the_examples_make_sense() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib");
    let jobs = root.join("bascule.toml");
    let shown =
        told(Command::new(program("bascule")).args(["show", "mail", "--config"]).arg(&jobs));
    assert!(shown.contains("/opt/icewarp/mail/"), "{shown}");
    let schema = fs::read_to_string(&jobs).expect("the example");
    let schema = schema.lines().next().and_then(|line| line.strip_prefix("#:schema "));
    assert!(schema.is_some_and(|name| root.join(name).is_file()), "{schema:?}");

    // The daemon's asks for a certificate and a login, as `basculed init` makes them.
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (made, state) = (scratch.path().join("made.conf"), scratch.path().join("state"));
    let mut init = Command::new(program("basculed"));
    init.arg("init").arg(format!("mail={}", root.join("systemd").display()));
    told(init.arg("--config").arg(made).arg("--state-dir").arg(&state));
    let text = fs::read_to_string(root.join("basculed.conf")).expect("the example");
    let text = text.replace("/var/lib/basculed", state.to_str().expect("UTF-8"));
    let file = scratch.path().join("example.conf");
    fs::write(&file, text).expect("a file");
    told(Command::new(program("basculed")).arg("check-config").arg(file));
}

fn good(machine: &Machine, words: &[&str]) -> String {
    let (code, said) = machine.tell(words);
    assert_eq!(code, 0, "{words:?}: {said}");
    said
}

fn write(machine: &Machine, path: &str, text: &str) {
    good(machine, &["sh", "-c", "printf %s \"$2\" > \"$1\"", "sh", path, text]);
}

/// Lets a machine's `/usr` be written to, in memory, and its dpkg know what the package needs.
fn ready_for_packages(machine: &Machine) {
    good(machine, &["mkdir", "-p", "/over/new", "/over/work", "/var/lib/dpkg/info"]);
    good(machine, &["mkdir", "/var/lib/dpkg/updates"]);
    let layers = "lowerdir=/usr,upperdir=/over/new,workdir=/over/work";
    good(machine, &["mount", "-t", "overlay", "-o", layers, "overlay", "/usr"]);
    let there = told(Command::new("dpkg-query").args(["--status", "libc6", "libgcc-s1"]));
    write(machine, "/var/lib/dpkg/status", &there);
    // Images of containers forbid services to be started.
    good(machine, &["rm", "-f", POLICY]);
}

#[test]
fn the_package_is_installed_upgraded_removed_and_purged() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let programs = program("bascule");
    let programs = programs.parent().and_then(Path::to_str).expect("UTF-8");
    let packages = scratch.path().join("packages");
    let package = made("deb", programs, &packages);
    let machine = Machine::start(scratch.path(), &packages);
    ready_for_packages(&machine);
    let package =
        format!("/opt/bascule/{}", package.file_name().expect("a name").to_string_lossy());

    let said = good(&machine, &["dpkg", "--install", &package]);
    assert!(said.contains("basculed init mail=") && said.contains("bascule check"), "{said}");
    for name in ["bascule", "basculed"] {
        let version = good(&machine, &[name, "--version"]);
        assert_eq!(version.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(good(&machine, &["dpkg", "--verify", "bascule"]), "");

    // Three services of these programs, of which one does not run, and one that somebody else made.
    good(&machine, &["mkdir", "-p", "/srv/mail", "/srv/copy"]);
    write(&machine, "/srv/mail/message", "hello");
    good(&machine, &["basculed", "init", "mail=/srv/mail"]);
    good(&machine, &["basculed", "service", "install"]);
    good(&machine, &["basculed", "service", "install", "--name=second", "--no-start"]);
    let jobs = "[jobs.copy]\nsources = [\"/srv/mail/\"]\ntarget = \"/srv/copy/\"\nschedule.every = \"1h\"\n";
    write(&machine, "/etc/bascule.toml", &format!("state = \"/var/lib/bascule\"\n{jobs}"));
    good(&machine, &["bascule", "service", "install"]);
    let own = "[Service]\nExecStart=/usr/bin/basculed --no-detach --port=8730\n";
    write(&machine, "/etc/systemd/system/own.service", own);
    let process = |name: &str| {
        let words = ["systemctl", "show", name, "--property=MainPID", "--value"];
        good(&machine, &words).trim().to_owned()
    };
    let before = [process("basculed"), process("bascule")];
    assert!(before.iter().all(|pid| pid != "0"), "{before:?}");

    // Editors find the schema.
    let init = ["bascule", "init", "--config=/root/b.toml", "/srv/copy/", "/srv/mail/"];
    good(&machine, &init);
    let named = good(&machine, &["head", "-n", "1", "/root/b.toml"]);
    let path = named.trim().strip_prefix("#:schema file://").expect("a schema");
    assert!(good(&machine, &["cat", path]).contains("account_depth"));

    // The same version once more is an upgrade, too: what runs is started again, and nothing else.
    let said = good(&machine, &["dpkg", "--install", &package]);
    assert!(!said.contains("basculed init"), "{said}");
    let after = [process("basculed"), process("bascule")];
    for (before, after) in before.iter().zip(&after) {
        assert!(before != after && after != "0", "{before} {after}: {said}");
    }
    assert_eq!(process("second"), "0");

    let said = good(&machine, &["dpkg", "--remove", "bascule"]);
    for name in ["basculed", "second", "bascule"] {
        assert_eq!(process(name), "0", "{said}");
        let unit = format!("/etc/systemd/system/{name}.service");
        assert_ne!(machine.tell(&["test", "-e", &unit]).0, 0, "{unit}: {said}");
    }
    good(&machine, &["test", "-e", "/etc/systemd/system/own.service"]);

    let said = good(&machine, &["dpkg", "--purge", "bascule"]);
    assert!(said.contains("kept: /etc/basculed.conf"), "{said}");
    // Of the package nothing is left, of the administrator's everything. Devices stand for what is no
    // longer seen of the machine around.
    let left = good(&machine, &["find", "/over/new", "!", "-type", "d", "!", "-type", "c"]);
    assert_eq!(left, "");
    assert_eq!(good(&machine, &["find", "/var/lib/dpkg/info", "-name", "bascule*"]), "");
    for kept in ["/etc/basculed.conf", "/etc/bascule.toml", "/var/lib/basculed/tls.key"] {
        good(&machine, &["test", "-s", kept]);
    }
    assert_eq!(good(&machine, &["cat", "/srv/mail/message"]), "hello");

    // The same in a system that systemd does not run, such as one that is being set up.
    let apart = |words: &[&str]| {
        let hidden = "mount -t tmpfs tmpfs /run && exec \"$@\"";
        good(&machine, &[&["unshare", "--mount", "sh", "-c", hidden, "sh"], words].concat())
    };
    apart(&["dpkg", "--install", &package]);
    apart(&["basculed", "service", "install", "--root=/"]);
    let enabled = "/etc/systemd/system/multi-user.target.wants/basculed.service";
    good(&machine, &["test", "-L", enabled]);
    apart(&["dpkg", "--install", &package]);
    let said = apart(&["dpkg", "--purge", "bascule"]);
    for gone in [enabled, "/etc/systemd/system/basculed.service", "/usr/bin/basculed"] {
        assert_ne!(machine.tell(&["test", "-L", gone, "-o", "-e", gone]).0, 0, "{gone}: {said}");
    }
    good(&machine, &["test", "-s", "/etc/basculed.conf"]);
}

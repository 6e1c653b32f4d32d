//! With programs that stand in for PowerShell: what Windows itself does is in docs/windows.md.

use std::fs;
use std::path::Path;

use super::*;

const VOLUME: &str = r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\";
const ID: &str = "{A1B2C3D4-0000-1111-2222-333344445555}";
const DEVICE: &str = r"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy12";

/// A program that answers `made` when it is run first, `then` from the second time on, and notes in
/// `runs` that it was run.
struct StandIn {
    dir: tempfile::TempDir,
    copies: ShadowCopies,
}

impl StandIn {
    fn new(made: &[&str], then: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let program = stand_in(dir.path(), made, then);
        let shell =
            Shell { program, limit: Duration::from_secs(60), pause: Duration::from_millis(1) };
        Self { dir, copies: ShadowCopies::by(shell) }
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default().lines().count()
    }
}

#[cfg(unix)]
fn stand_in(dir: &Path, made: &[&str], then: &[&str]) -> PathBuf {
    let say = |lines: &[&str]| format!("printf '%s\\n' '{}'", lines.join("' '"));
    let program = dir.join("powershell");
    let script = format!(
        "#!/bin/sh\ncd '{}'\nshift 4\nprintf '%s\\n' \"$1\" >> scripts\n\
         echo run >> runs\nif [ $(wc -l < runs) = 1 ]; then {}; else {}; fi\n",
        dir.display(),
        say(made),
        say(then),
    );
    // Written by another process: a program that this one has open for writing cannot be run.
    let write = "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"";
    let mut shell = Command::new("sh");
    let written = shell.args(["-c", write, "sh", &script]).arg(&program).status();
    assert!(written.expect("a shell").success());
    program
}

#[cfg(windows)]
fn stand_in(dir: &Path, made: &[&str], then: &[&str]) -> PathBuf {
    let say =
        |lines: &[&str]| lines.iter().map(|line| format!("echo {line}\r\n")).collect::<String>();
    let program = dir.join("powershell.cmd");
    let script = format!(
        "@echo off\r\ncd /d {}\r\nif exist runs goto then\r\necho run> runs\r\n{}exit /b 0\r\n\
         :then\r\necho run>> runs\r\n{}exit /b 0\r\n",
        dir.display(),
        say(made),
        say(then),
    );
    fs::write(&program, script).expect("a program");
    program
}

fn good() -> Vec<String> {
    ["service=Manual".into(), "code=0".into(), format!("id={ID}"), format!("device={DEVICE}")]
        .into()
}

fn lines(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

#[test]
fn makes_one_of_a_volume_and_removes_it() {
    let good = good();
    let powershell = StandIn::new(&lines(&good), &["removed=yes"]);
    let root = PathBuf::from(format!("{DEVICE}\\"));
    assert_eq!(powershell.copies.of(VOLUME), Ok(root.clone()));
    assert_eq!(powershell.copies.of(VOLUME), Ok(root));
    assert_eq!(powershell.runs(), 1);
    assert_eq!(powershell.copies.remove(), Ok(()));
    assert_eq!(powershell.runs(), 2);
    assert_eq!(powershell.copies.remove(), Ok(()));
    let StandIn { dir, copies } = powershell;
    drop(copies);
    assert_eq!(fs::read_to_string(dir.path().join("runs")).expect("run").lines().count(), 2);
    #[cfg(unix)]
    {
        let scripts = fs::read_to_string(dir.path().join("scripts")).expect("told what to do");
        assert_eq!(
            scripts,
            format!("{}\n{}\n", making(VOLUME), removing(&Id::parse(ID).expect("one")))
        );
    }
}

#[test]
fn removes_it_when_nobody_said_so() {
    let good = good();
    let StandIn { dir, copies } = StandIn::new(&lines(&good), &["removed=yes"]);
    copies.of(VOLUME).expect("made");
    drop(copies);
    assert_eq!(fs::read_to_string(dir.path().join("runs")).expect("run").lines().count(), 2);
}

#[test]
fn a_failure_is_remembered() {
    let powershell = StandIn::new(&["service=Manual", "code=1"], &["code=0"]);
    for _ in 0..3 {
        assert_eq!(powershell.copies.of(VOLUME), Err(SnapshotError::NotAdministrator));
    }
    assert_eq!(powershell.copies.remove(), Ok(()));
    assert_eq!(powershell.runs(), 1);
}

#[test]
fn waits_for_another_one_to_be_made() {
    let good = good();
    let powershell = StandIn::new(&["service=Manual", "code=9"], &lines(&good));
    assert!(powershell.copies.of(VOLUME).is_ok());
    assert_eq!(powershell.runs(), 2);
    let busy = StandIn::new(&["code=9"], &["code=9"]);
    let error = busy.copies.of(VOLUME).expect_err("never");
    assert!(error.to_string().contains("another one is being made"), "{error}");
    assert_eq!(busy.runs(), 6);
}

#[test]
fn one_whose_device_is_not_told_is_removed_again() {
    for device in
        ["device=", r"device=C:\", r"device=\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy1x"]
    {
        let id = format!("id={ID}");
        let made = ["service=Manual", "code=0", &id, device];
        let powershell = StandIn::new(&made, &["removed=yes"]);
        let error = powershell.copies.of(VOLUME).expect_err("no device");
        assert!(matches!(error, SnapshotError::Answer(_)), "{error}");
        assert_eq!(powershell.runs(), 2, "{device}");
    }
}

#[test]
fn says_how_to_remove_one_that_stays() {
    let good = good();
    let powershell = StandIn::new(&lines(&good), &["native=Failed", "text=Some trouble"]);
    powershell.copies.of(VOLUME).expect("made");
    let text = powershell.copies.remove().expect_err("it stays").to_string();
    assert!(text.contains("Some trouble"), "{text}");
    assert!(text.contains(&format!("vssadmin delete shadows /shadow={ID}")), "{text}");
}

#[test]
fn reasons_are_clear() {
    use SnapshotError::{Answer, NoRoom, NotAdministrator, Refused, ServiceDisabled};
    let text = |text: &str| text.to_owned();
    for (said, expected) in [
        (&["service=Disabled"][..], ServiceDisabled),
        (&["service=Manual", "code=6"], NoRoom),
        (&["service=Manual", "code=8"], NoRoom),
        (&["native=AccessDenied", "status=", "hresult=-1", "text=x"], NotAdministrator),
        (&["status=2147749891", "text=x"], NotAdministrator),
        (&["hresult=-2147024891", "text=x"], NotAdministrator),
        (&["hresult=-2147023838", "text=x"], ServiceDisabled),
        (
            &["hresult=5", "text=Something", "else  happened"],
            Refused(text("Something else happened")),
        ),
        (&["code=4"], Refused(text("volumes of this kind cannot have one (NTFS and ReFS can)"))),
        (&["code=77"], Refused(text("code 77"))),
        (&["code=0", "id={x}"], Answer(text("it broke off"))),
        (&["Hello", "code=0"], Answer(text("Hello"))),
        (&["code=0", "code=1"], Answer(text("code=1"))),
    ] {
        let powershell = StandIn::new(said, &[]);
        assert_eq!(powershell.copies.of(VOLUME), Err(expected), "{said:?}");
        assert_eq!(powershell.runs(), 1);
    }
}

#[test]
fn nothing_strange_is_asked_for() {
    let powershell = StandIn::new(&[], &[]);
    for strange in [
        "",
        "C:",
        r"C:\x",
        r"\\server\share\",
        r"C:\'; calc; '",
        r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}",
        r"\\?\Volume{01234567-89ab-cdef-0123-456789abcde'}\",
        r"\\?\Volume{0123456789abcdef-0123-456789abcdef-0}\",
        "É:\\",
    ] {
        let refused = Err(SnapshotError::NoVolume(strange.to_owned()));
        assert_eq!(powershell.copies.of(strange), refused);
    }
    assert_eq!(powershell.runs(), 0);
    for fine in [VOLUME, r"C:\", r"z:\"] {
        assert!(is_volume(fine), "{fine}");
        assert!(making(fine).contains(&format!("Volume='{fine}';")));
    }
}

#[test]
fn scripts_need_no_escapes() {
    for script in [making(VOLUME), removing(&Id::parse(ID).expect("one"))] {
        assert!(!script.contains(['"', '\n', '`', '%']), "{script}");
        assert_eq!(script.matches('{').count(), script.matches('}').count());
        assert_eq!(script.matches('\'').count() % 2, 0);
    }
}

#[test]
fn a_silent_or_missing_program_is_told() {
    let silent = StandIn::new(&[], &[]);
    let text = silent.copies.of(VOLUME).expect_err("silent").to_string();
    assert!(text.contains("it said nothing"), "{text}");
    let (program, limit) = ("no-such-powershell".into(), Duration::from_secs(9));
    let missing = ShadowCopies::by(Shell { program, limit, pause: limit });
    let text = missing.of(VOLUME).expect_err("missing").to_string();
    assert!(text.starts_with("no-such-powershell cannot be run"), "{text}");
}

#[test]
fn only_windows_has_them() {
    let copies = ShadowCopies::new().map(drop);
    assert_eq!(copies, if cfg!(windows) { Ok(()) } else { Err(SnapshotError::Unsupported) });
}

//! DeltaCopy at one end: its server's configuration is imported, and the command line that its client
//! runs works against that as it does against a stock rsync daemon.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Ran, Whose, finish, program};
use bascule_tests::scratch::{T0, file, noise, set_time};

const PASSWORD: &str = "un:mot de passe";

/// As DeltaCopy's server writes it, in the ANSI code page.
const CONF: &[u8] = b"use chroot = false\r\nstrict modes = false\r\n\r\n[Courrier]\r\n\r\n    \
    path = /cygdrive/c/Donn\xe9es du serveur\r\n    comment = Sauvegarde\r\n    read only = false\r\n    \
    auth users = joe\r\n    secrets file = /cygdrive/c/DeltaCopy/secrets/Courrier.secret\r\n\r\n";

/// DeltaCopy's folder, and what is on its machine's drive C: here.
fn server(root: &Path) {
    fs::create_dir_all(root.join("DeltaCopy/secrets")).expect("a folder");
    fs::write(root.join("DeltaCopy/deltacd.conf"), CONF).expect("a file");
    let secret = format!("joe:{PASSWORD}\r\n");
    fs::write(root.join("DeltaCopy/secrets/Courrier.secret"), secret).expect("a file");
    fs::create_dir_all(root.join("c/Données du serveur")).expect("a folder");
}

/// Imports it; gives the configuration that was written.
fn import(root: &Path) -> String {
    let file = root.join("basculed.conf");
    let mut command = Command::new(program("basculed"));
    command.arg("import-deltacopy").arg(root.join("DeltaCopy"));
    command.arg(format!("--map=C:={}", root.join("c").display()));
    command.arg(format!("--config={}", file.display()));
    command.arg(format!("--state-dir={}", root.join("state").display()));
    let ran = finish(command.stdin(Stdio::null()));
    assert_eq!(ran.code, 0, "{}", ran.said);
    let text = fs::read_to_string(&file).expect("written");
    assert!(!ran.said.contains(PASSWORD) && !text.contains(PASSWORD), "{}{text}", ran.said);
    text
}

/// What a mail server's folder may look like; whole seconds, as old protocols carry them.
fn mail(root: &Path) {
    for (name, length) in [
        ("config/settings.cfg", 900),
        ("mail/example.com/joe/inbox/20231114001.imap", 70_000),
        ("mail/example.com/joe/inbox/20231114002.imap", 0),
        ("mail/example.com/joe/~Brouillons & co/a b (1).imap", 3000),
        ("mail/example.com/zoé/Éléments envoyés/été.imap", 150_000),
        ("old/gone.imap", 10),
    ] {
        let data = noise(name.len() as u64, length);
        file(root, name.as_bytes(), &data, 0o640, (T0 + length as i64, 0)).expect("a file");
    }
    fs::create_dir(root.join("mail/example.com/empty")).expect("a folder");
    for folder in ["mail/example.com/empty", "mail/example.com/zoé", "old", "mail", "."] {
        set_time(&root.join(folder), (T0 - 5000, 0)).expect("a time");
    }
}

/// The command line of DeltaCopy's client, as "Display Run Command" shows it, with `more` as its
/// additional parameters. An old Cygwin's paths are local: it sends the same.
fn deltacopy(port: u16, compress: &str, more: &[&str], ends: [&str; 2]) -> Ran {
    let mut command = Command::new("rsync");
    command.args(["-v", "-rlt", compress, "--chmod=a=rw,Da+x"]).args(more);
    command.arg(format!("--port={port}")).args(ends);
    command.stdin(Stdio::null()).env("RSYNC_PASSWORD", PASSWORD);
    finish(&mut command)
}

/// What a stock rsync still finds to do between two folders, every byte read.
fn to_do(from: &Path, to: &Path) -> Vec<String> {
    let mut command = Command::new("rsync");
    // The client leaves permissions and owners to the server.
    command.args(["-ainc", "--delete", "--no-perms", "--no-owner", "--no-group"]);
    command.arg(format!("{}/", from.display())).arg(to).stdin(Stdio::null());
    let ran = finish(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.said);
    ran.said.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn its_client_pushes_deletes_and_restores_by_each_protocol() {
    let protocols: [&[&str]; 3] = [&[], &["--protocol=30"], &["--protocol=31"]];
    for protocol in protocols {
        for compress in ["-z", "--old-compress", "-zz"] {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let root = scratch.path();
            server(root);
            let config = import(root);
            // The same modules in a stock daemon: for it the same folder is another one.
            let stock = config.replace("/c/Données du serveur", "/stock");
            fs::create_dir(root.join("stock")).expect("a folder");
            let from = root.join("cygdrive/c/IceWarp");
            let judge = |whose, config: &str, kept: &str| {
                let _ = fs::remove_dir_all(&from);
                mail(&from);
                let daemon = Daemon::start(whose, root, config);
                let run = |more: &[&str], ends: [&str; 2]| {
                    let more = [protocol, more].concat();
                    let ran = deltacopy(daemon.port, compress, &more, ends);
                    assert_eq!(ran.code, 0, "{whose} {compress} {more:?}: {}", ran.said);
                    ran.said
                };
                let source = format!("{}/", from.display());
                let target = "joe@127.0.0.1::Courrier/serveur";
                let kept = root.join(kept).join("serveur");
                run(&["--delete"], [&source, target]);
                assert_eq!(to_do(&from, &kept), Vec::<String>::new(), "{whose}");

                fs::remove_dir_all(from.join("old")).expect("removed");
                fs::remove_file(from.join("config/settings.cfg")).expect("removed");
                let inbox = "mail/example.com/joe/inbox/20231114001.imap";
                let grown = [noise(1, 100), fs::read(from.join(inbox)).expect("a file")].concat();
                file(&from, inbox.as_bytes(), &grown, 0o640, (T0 + 9, 0)).expect("a file");
                let said = run(&["--delete"], [&source, target]);
                assert!(said.contains("deleting old/gone.imap"), "{whose}: {said}");
                assert_eq!(to_do(&from, &kept), Vec::<String>::new(), "{whose}");

                // "Skip newer", then a restore: the same line with its ends swapped.
                let newer = "mail/example.com/joe/inbox/20231114002.imap";
                file(&kept, newer.as_bytes(), b"newer", 0o644, (T0 + 99, 0)).expect("a file");
                run(&["-u", "--delete"], [&source, target]);
                assert_eq!(fs::read(kept.join(newer)).expect("a file"), b"newer", "{whose}");
                let restored = root.join(format!("restored by {whose}/"));
                let restored_to = restored.to_str().expect("UTF-8");
                run(&[], [&format!("{target}/"), restored_to]);
                assert_eq!(to_do(&kept, &restored), Vec::<String>::new(), "{whose}");
                [&kept, &restored].map(|tree| describe(tree, false).expect("a tree"))
            };
            let ours = judge(Whose::Ours, &config, "c/Données du serveur");
            let theirs = judge(Whose::Rsync, &stock, "stock");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                // Permissions are the server's: as a stock daemon gives them.
                let found = differences(ours, theirs);
                assert!(found.is_empty(), "{protocol:?} {compress}: {found:#?}");
            }
        }
    }
}

#[test]
fn its_client_sees_the_virtual_directories_and_needs_the_password() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    server(root);
    let daemon = Daemon::start(Whose::Ours, root, &import(root));
    let list = Command::new("rsync")
        .args([&format!("--port={}", daemon.port), "127.0.0.1::"])
        .stdin(Stdio::null())
        .output()
        .expect("rsync runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert_eq!(list.trim_end(), "Courrier       \tSauvegarde");

    let module = "joe@127.0.0.1::Courrier/";
    let password_file = root.join("password");
    fs::write(&password_file, format!("{PASSWORD}\n")).expect("a file");
    let set =
        fs::set_permissions(&password_file, std::os::unix::fs::PermissionsExt::from_mode(0o600));
    set.expect("a mode");
    for (password, by_file, code) in
        [("wrong", false, 5), ("", false, 5), (PASSWORD, false, 0), ("wrong", true, 0)]
    {
        let mut command = Command::new("rsync");
        command.args(["-v", "-rlt", "--protocol=30", &format!("--port={}", daemon.port)]);
        if by_file {
            command.arg(format!("--password-file={}", password_file.display()));
        }
        command.arg(module).stdin(Stdio::null()).env("RSYNC_PASSWORD", password);
        let ran = finish(&mut command);
        assert_eq!(ran.code, code, "{password}: {}", ran.said);
    }
}

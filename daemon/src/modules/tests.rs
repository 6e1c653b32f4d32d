use bascule_platform::privileges::own_ids;
use bascule_session::site::{Peer, Site as _};
use bascule_wire::auth::{AuthDigest, response};

use super::place::NOT_MOUNTED;
use super::*;
use crate::config;
use crate::site::DaemonSite;

/// A site with the module `m` in a fresh directory.
fn module(parameters: &str) -> (tempfile::TempDir, Box<dyn OpenModule>) {
    let dir = tempfile::tempdir().expect("a directory");
    let own = own_ids().expect("a Unix system");
    let text = format!(
        "[m]\npath = {}\nuid = {}\ngid = {}\n{parameters}",
        dir.path().display(),
        own.0,
        own.1
    );
    let config = config::parse(text.as_bytes(), "f", &[]).expect("a good configuration");
    let site = DaemonSite::fixed(Arc::new(config));
    let opened = site.open(b"m", &Peer::default());
    (dir, opened.map_err(|Refusal(text)| text).expect("open to all"))
}

fn entered(parameters: &str) -> Result<ModuleRules, String> {
    let (_dir, mut module) = module(parameters);
    module.enter().map_err(|Refusal(text)| text)
}

#[test]
fn the_defaults_are_rsyncds() {
    let plain = entered("").expect("entered");
    assert!(plain.read_only && !plain.write_only);
    assert_eq!(plain.list_limits, ListLimits::default());
    let free = entered("use chroot = no\nread only = no\n").expect("entered");
    assert!(free.symlink_targets == SymlinkTargets::Munged && !free.numeric_ids && !free.read_only);
    let confined = entered("use chroot = yes\n").expect("entered");
    assert!(confined.symlink_targets == SymlinkTargets::Verbatim && confined.numeric_ids);
    let chosen = entered("use chroot = no\nmunge symlinks = no\nnumeric ids = yes\n");
    let chosen = chosen.expect("entered");
    assert!(chosen.symlink_targets == SymlinkTargets::Sanitized && chosen.numeric_ids);
}

#[test]
fn rules_are_carried_over() {
    let rules = entered(
        "exclude = *.o\nfilter = + keep.o\nrefuse options = delete  c\ntimeout = 60\n\
         incoming chmod = Dg+s\noutgoing chmod = a+r\nmax entries = 9\nmax list memory = 2\n",
    )
    .expect("entered");
    assert_eq!(rules.filters.len(), 2);
    assert_eq!(rules.filters[0].pattern, b"keep.o");
    assert_eq!(rules.refuse_options, ["delete", "c"]);
    assert_eq!(rules.timeout, 60);
    assert_eq!(rules.list_limits, ListLimits { entries: 9, bytes: 2 << 20 });
    assert_eq!(rules.incoming_chmod.as_deref(), Some("Dg+s"));
    assert_eq!(rules.outgoing_chmod.as_deref(), Some("a+r"));
}

#[test]
fn a_module_that_cannot_be_used_says_little() {
    for (parameters, text) in [
        ("path = /no/such/dir\nuse chroot = no\n", "chdir failed"),
        ("path = /no/such/dir\nuse chroot = yes\n", "chroot failed"),
        ("path = /tmp/%RSYNC_USER_NAME%\n", "chdir failed"),
        ("uid = no-such-user-here\n", "invalid uid no-such-user-here"),
        ("gid = no-such-group-here\n", "invalid gid no-such-group-here"),
        ("filter = x\n", "the module's filter cannot be used"),
        ("exclude from = /no/such\n", "the module's filter cannot be used"),
        ("mounted on = /no/such\n", NOT_MOUNTED),
    ] {
        assert_eq!(entered(parameters).err().as_deref(), Some(text), "{parameters}");
    }
}

#[test]
fn a_temp_dir_that_is_missing_stops_only_what_is_received() {
    let rules = entered("temp dir = /elsewhere\nuse chroot = no\n").expect("entered");
    assert_eq!(rules.unreceivable.as_deref(), Some("the module's temp dir cannot be used"));
    assert_eq!(entered("use chroot = no\n").expect("entered").unreceivable, None);
}

#[test]
fn a_directory_that_would_catch_munged_links_is_a_danger() {
    let (dir, mut module) = module("munge symlinks = yes\n");
    std::fs::create_dir(dir.path().join(MUNGED)).expect("a directory");
    assert_eq!(
        module.enter().err(),
        Some(Refusal("daemon security issue -- contact admin".to_owned()))
    );
}

#[test]
fn logins_fail_with_one_text_and_rules_override_read_only() {
    let secrets = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secrets.path(), "joe:x\nsam:y\n").expect("write");
    let parameters =
        format!("auth users = joe:rw *\nsecrets file = {}\n", secrets.path().display());
    let login = |module: &mut Box<dyn OpenModule>, user: &[u8], password: &[u8]| {
        let response = response(AuthDigest::Sha256, password, "c");
        module.login(&LoginAttempt {
            user,
            digest: AuthDigest::Sha256,
            challenge: "c",
            response: response.as_bytes(),
        })
    };
    let (_dir, mut module) = module(&parameters);
    assert!(module.needs_login());
    for (user, password) in [(&b"joe"[..], &b"y"[..]), (b"zoe", b"x"), (b"\xff", b"x")] {
        assert_eq!(
            login(&mut module, user, password),
            Err(Refusal("auth failed on module m".to_owned()))
        );
    }
    assert_eq!(login(&mut module, b"sam", b"y"), Ok(()));
    assert!(module.enter().expect("entered").read_only);
    assert_eq!(login(&mut module, b"joe", b"x"), Ok(()));
    assert!(!module.enter().expect("entered").read_only);
}

#[test]
fn hooks_run_around_the_transfer_and_after_it_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let (_module_dir, mut module) = module(&format!(
        "pre-xfer exec = echo pre $RSYNC_ARG1 >> {0}; test $RSYNC_ARG1 = ok\n\
         post-xfer exec = echo post $RSYNC_EXIT_STATUS >> {0}\n",
        log.display()
    ));
    module.after_transfer(ExitCode::Success);
    module.enter().map_err(|Refusal(text)| text).expect("entered");
    assert_eq!(module.before_transfer(&[b"ok".to_vec()]), Ok(()));
    assert_eq!(
        module.before_transfer(&[b"bad".to_vec()]),
        Err(Refusal("pre-xfer exec returned failure (256)".to_owned()))
    );
    module.after_transfer(ExitCode::Partial);
    module.after_transfer(ExitCode::Success);
    drop(module);
    let written = std::fs::read_to_string(&log).expect("written");
    assert_eq!(written, "pre ok\npre bad\npost 23\n");
}

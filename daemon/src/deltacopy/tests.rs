use super::*;

fn import(root: &Path, conf: &[u8]) -> ImportDeltacopy {
    let dir = root.join("DeltaCopy");
    std::fs::create_dir_all(dir.join("secrets")).expect("a directory");
    std::fs::write(dir.join(CONF), conf).expect("a file");
    std::fs::write(dir.join("secrets/Mail.secret"), "joe:pass:word\r\n").expect("a file");
    ImportDeltacopy {
        dir,
        config: root.join("etc/basculed.conf"),
        map: vec![format!("C:={}", root.join("c").display())],
        encoding: None,
        state_dir: Some(root.join("state")),
        print: false,
    }
}

const CONF_OF_DELTACOPY: &[u8] = b"use chroot = false\r\nstrict modes = false\r\nlog file = rsyncd.log\r\n\
    uid = 0\r\n\r\n[Mail]\r\n\r\n    path = /cygdrive/c/Donn\xe9es 100%\r\n    comment = Le courrier\r\n    \
    read only = false\r\n    auth users = joe\r\n    secrets file = secrets\\Mail.secret\r\n\r\n[New]\r\n\r\n    \
    path = \r\n    comment = \r\n    read only = false\r\n    auth users = \r\n    secrets file = \r\n\r\n\
    [Open]\r\n    path = c:\\open\r\n    hosts allow = 192.0.2.0/24\r\n    transfer logging = yes\r\n    \
    auth users = \r\n    secrets file = secrets\\Mail.secret\r\n";

#[test]
fn takes_over_what_deltacopy_wrote() {
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path();
    std::fs::create_dir_all(root.join("c/Données 100%")).expect("a directory");
    let import = import(root, CONF_OF_DELTACOPY);
    let (said, _) = run(&import).expect("imported");
    let written = std::fs::read_to_string(&import.config).expect("written");
    assert!(!said.contains("pass:word") && !written.contains("pass:word"));
    let config = config::load(&import.config, &[]).expect("usable");
    let names: Vec<&str> = config.modules.iter().map(|module| &*module.name).collect();
    assert_eq!(names, ["Mail", "Open"], "{written}");
    let rules = &config.module(b"Mail").expect("the module").rules;
    let folder = paths::canonical(&root.join("c/Données 100%")).expect("there");
    let path = rules.path.as_deref().map(|path| PathBuf::from(path.replace("%%", "%")));
    let path = path.map(|path| paths::canonical(&path).expect("there"));
    assert_eq!(path, Some(folder));
    assert!(!rules.read_only);
    assert_eq!(rules.use_chroot, Some(false));
    assert_eq!(rules.comment.as_deref(), Some("Le courrier"));
    assert_eq!(rules.auth_users.as_deref(), Some("joe"));
    let secrets = root.join("state").join("deltacopy").join("Mail.secrets");
    let named = rules.secrets_file.as_deref().map(|path| PathBuf::from(path.replace("%%", "%")));
    assert_eq!(named.as_ref(), Some(&secrets));
    assert_eq!(std::fs::read(&secrets).expect("copied"), b"joe:pass:word\r\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = secrets.metadata().expect("copied").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(rules.strict_modes);
    }
    let open = &config.module(b"Open").expect("the module").rules;
    assert_eq!((open.auth_users.as_deref(), open.secrets_file.as_deref()), (None, None));
    assert_eq!(open.hosts_allow.as_deref(), Some("192.0.2.0/24"));
    for note in [
        "The virtual directory [New] has no folder yet",
        "left out: log file = rsyncd.log",
        "left out: transfer logging = yes",
        "[Open]: nobody is asked for a password: each machine of its hosts allow can read everything",
        "This is not there yet",
        "basculed service install ",
        "protocol 30 or newer",
    ] {
        assert!(said.contains(note), "{note}: {said}");
    }
    assert!(written.contains("# It was: path = /cygdrive/c/Données 100%\n"), "{written}");
    assert!(written.contains("read as windows-1252"), "{written}");
}

#[test]
fn a_second_import_overwrites_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let import = import(scratch.path(), CONF_OF_DELTACOPY);
    run(&import).expect("imported");
    let again = run(&import).expect_err("it exists").to_string();
    assert!(again.contains("left as it is"), "{again}");
    // The same passwords are there already.
    let second = ImportDeltacopy { config: scratch.path().join("second.conf"), ..import };
    run(&second).expect("imported again");
    let secrets = scratch.path().join("state/deltacopy/Mail.secrets");
    std::fs::write(&secrets, "joe:changed since\n").expect("written");
    let third = ImportDeltacopy { config: scratch.path().join("third.conf"), ..second };
    let error = format!("{:#}", run(&third).expect_err("others"));
    assert!(error.contains("other passwords") && !error.contains("changed since"), "{error}");
    assert!(!third.config.exists());
    assert_eq!(std::fs::read(&secrets).expect("still there"), b"joe:changed since\n");
}

#[test]
fn a_module_that_comes_twice_is_one_and_a_name_with_accents_is_noted() {
    let scratch = tempfile::tempdir().expect("a directory");
    let conf = "[Mél]\npath = c:/a\n[B]\npath = c:/b\n\
                [Mél]\nauth users = joe\nsecrets file = secrets/Mail.secret\n";
    let import = import(scratch.path(), conf.as_bytes());
    let (said, _) = run(&import).expect("imported");
    let config = config::load(&import.config, &[]).expect("usable");
    let rules = &config.module("Mél".as_bytes()).expect("the module").rules;
    assert_eq!(rules.auth_users.as_deref(), Some("joe"));
    assert_eq!(config.modules.len(), 2);
    assert!(!said.contains("[Mél]: nobody is asked"), "{said}");
    assert!(said.contains("[Mél]: the name has accents"), "{said}");
}

#[test]
fn print_shows_and_writes_nothing() {
    let scratch = tempfile::tempdir().expect("a directory");
    let import = ImportDeltacopy { print: true, ..import(scratch.path(), CONF_OF_DELTACOPY) };
    let (text, notes) = run(&import).expect("translated");
    assert!(text.contains("[Mail]") && !text.contains("pass:word"), "{text}");
    assert!(notes.contains("left out: uid = 0"), "{notes}");
    assert!(!import.config.exists() && !scratch.path().join("state").exists());
    let parsed = config::parse(text.as_bytes(), "printed", &[]).expect("usable");
    assert_eq!(parsed.modules.len(), 2);
}

#[test]
fn the_global_part_counts_for_modules_and_an_empty_value_takes_it_back() {
    let scratch = tempfile::tempdir().expect("a directory");
    let conf =
        b"auth users = joe\nsecrets file = secrets/Mail.secret\nread only = false\nuid = 0\n\
        [A]\npath = c:/a\n[B]\npath = c:/b\nauth users =\nsecrets file =\nbogus thing = 3\n";
    let import = import(scratch.path(), conf);
    let (said, _) = run(&import).expect("imported");
    let config = config::load(&import.config, &[]).expect("usable");
    let rules = |name: &str| &config.module(name.as_bytes()).expect("the module").rules;
    assert_eq!(rules("A").auth_users.as_deref(), Some("joe"));
    let secrets = rules("A").secrets_file.as_deref().map(|path| path.replace("%%", "%"));
    let secrets = std::fs::read(secrets.expect("a file")).expect("copied");
    assert_eq!(secrets, b"joe:pass:word\r\n");
    assert_eq!(rules("B").auth_users, None);
    assert_eq!(rules("B").secrets_file, None);
    for note in
        ["[B]: nobody is asked for a password: whoever reaches the port can read, change", "bogus"]
    {
        assert!(said.contains(note), "{note}: {said}");
    }
    assert!(!said.contains("[A]: nobody"), "{said}");
}

#[test]
fn names_what_stands_in_the_way_and_writes_nothing() {
    let cases: [(&[u8], &str); 10] = [
        // The next line would be a part of the path.
        (b"[M]\npath = C:\\mail\\ \r\nauth users = joe\r\n", "deltacd.conf:2: the line ends with"),
        (b"[M]\npath = /cygdrive/c/x\nread only = maybe\n", "must be yes or no"),
        (b"[M]\npath = /cygdrive/c/x\nhosts allow = 1.2.3.4/99\n", "deltacd.conf:3: hosts allow"),
        (b"[M]\npath = mail\n", "no full path"),
        (b"[M]\npath = /cygdrive/c/../x\n", "without it"),
        (b"[M]\npath = /home/x\n", "--map /home/x="),
        (
            b"[M]\npath = /cygdrive/c/x\nauth users = joe\nsecrets file = secrets\\None.secret\n",
            "neither there nor below",
        ),
        (b"&include /etc/x\n", "included files are not imported"),
        (b"[M\npath = /cygdrive/c/x\n", "no closing bracket"),
        (b"use chroot = false\n[M]\npath =\n", "no virtual directory"),
    ];
    for (conf, reason) in cases {
        let scratch = tempfile::tempdir().expect("a directory");
        let import = import(scratch.path(), conf);
        let error = format!("{:#}", run(&import).expect_err(reason));
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(!import.config.exists() && !scratch.path().join("state").exists(), "{reason}");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let mut import = import(scratch.path(), CONF_OF_DELTACOPY);
    import.dir = scratch.path().join("elsewhere");
    let error = run(&import).expect_err("not there").to_string();
    assert!(error.contains("is not there: name the folder"), "{error}");
}

#[test]
fn tells_when_passwords_would_be_served() {
    let scratch = tempfile::tempdir().expect("a directory");
    let root = scratch.path();
    let mut import = import(
        root,
        b"[All]\npath = /cygdrive/c/\nauth users = joe, eve\nsecrets file = Mail.secret\n",
    );
    std::fs::rename(import.dir.join("secrets/Mail.secret"), import.dir.join("Mail.secret"))
        .expect("moved");
    import.map = vec![format!("C:={}", root.display())];
    import.print = true;
    let (text, notes) = run(&import).expect("translated");
    assert!(notes.contains("its clients can read DeltaCopy's passwords"), "{notes}");
    assert!(notes.contains("eve has no password"), "{notes}");
    assert!(text.contains("All.secrets"), "{text}");
    // Nor does the new file get there.
    let error = run(&ImportDeltacopy { print: false, ..import }).expect_err("served").to_string();
    assert!(error.contains("would be served too"), "{error}");
    assert!(!root.join("state").exists(), "nothing is made in what is served");
}

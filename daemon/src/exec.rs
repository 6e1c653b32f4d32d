//! `pre-xfer exec` and `post-xfer exec`: commands of the administrator, run as the daemon's user.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};

use bascule_engine::outcome::ExitCode;

use crate::client::Client;

/// How much of a command's output is kept, in bytes.
const MOST_OUTPUT: u64 = 8192;
/// The variable that names another shell.
const SHELL: &str = "RSYNC_SHELL";
/// The variable that switches all hooks off.
const SWITCH_OFF: &str = "RSYNC_NO_XFER_EXEC";

/// Runs `pre-xfer exec` with the client's arguments.
///
/// # Errors
/// The refusal for the client: the command failed, or could not be run.
pub fn before_transfer(command: &str, client: &Client, args: &[Vec<u8>]) -> Result<(), String> {
    if std::env::var_os(SWITCH_OFF).is_some() {
        return Ok(());
    }
    let command = resolve(command, client)?;
    let mut environment = variables(client);
    environment.extend(request(client, args));
    let ended = run(&command, &environment)
        .map_err(|error| format!("pre-xfer exec could not be run: {error}"))?;
    report_stderr(&ended, client, "pre-xfer exec");
    if ended.raw_status == 0 {
        return Ok(());
    }
    let output = printable(&ended.stdout);
    let colon = if output.is_empty() { "" } else { ": " };
    Err(format!("pre-xfer exec returned failure ({}){colon}{output}", ended.raw_status))
}

/// Runs `post-xfer exec`; its failure is only logged.
pub fn after_transfer(command: &str, client: &Client, exit: ExitCode) {
    if std::env::var_os(SWITCH_OFF).is_some() {
        return;
    }
    let mut environment = variables(client);
    let code = u32::from(exit.code());
    environment.push(("RSYNC_EXIT_STATUS".into(), code.to_string().into()));
    environment.push(("RSYNC_RAW_STATUS".into(), (code << 8).to_string().into()));
    let outcome = resolve(command, client)
        .and_then(|command| run(&command, &environment).map_err(|error| error.to_string()));
    match outcome {
        Ok(ended) => {
            report_stderr(&ended, client, "post-xfer exec");
            if ended.raw_status != 0 {
                tracing::warn!(
                    event = "hook.failed",
                    module = client.module,
                    status = ended.raw_status,
                    "post-xfer exec failed"
                );
            }
        }
        Err(reason) => {
            tracing::error!(
                event = "hook.failed",
                module = client.module,
                reason,
                "post-xfer exec could not be run"
            );
        }
    }
}

/// Resolves `%VAR%` in a command. A value that a shell could act on is refused: nobody knows how
/// many shells will read it. The same value is in the environment, where it is safe.
fn resolve(command: &str, client: &Client) -> Result<String, String> {
    client.expand_checked(command, |name, value| {
        (name.starts_with("RSYNC_") && value.contains(is_active))
            .then(|| format!("refusing to run shell hook: %{name}% holds a shell metacharacter"))
    })
}

fn is_active(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "'\"`$\\;&|<>()*?[]#!~{}^%".contains(c)
}

fn variables(client: &Client) -> Vec<(OsString, OsString)> {
    client.variables().into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// `RSYNC_REQUEST` and `RSYNC_ARG#`: paths lose the module's name in the latter.
fn request(client: &Client, args: &[Vec<u8>]) -> Vec<(OsString, OsString)> {
    let mut found = vec![("RSYNC_ARG0".into(), "rsyncd".into())];
    let options = args.iter().position(|arg| arg == b".").unwrap_or(args.len());
    let paths = args.get(options + 1..).unwrap_or_default();
    for (number, arg) in (1u32..).zip(args) {
        let is_path = usize::try_from(number).is_ok_and(|number| number > options + 1);
        let arg = if is_path { without_module(arg, &client.module) } else { arg };
        found.push((format!("RSYNC_ARG{number}").into(), os_string(arg)));
    }
    found.push(("RSYNC_REQUEST".into(), os_string(&paths.join(&b' '))));
    found
}

fn without_module<'a>(path: &'a [u8], module: &str) -> &'a [u8] {
    match path.strip_prefix(module.as_bytes()) {
        Some(b"" | b"/") => b".",
        Some([b'/', rest @ ..]) => rest,
        _ => path,
    }
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(bytes.iter().copied().filter(|byte| *byte != 0).collect())
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).replace('\0', "").into()
}

struct Ended {
    /// As `waitpid` gives it: the exit code times 256, or a signal.
    raw_status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn run(command: &str, environment: &[(OsString, OsString)]) -> std::io::Result<Ended> {
    let mut child = shell(command)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || stderr.map(read_some).unwrap_or_default());
    let stdout = child.stdout.take().map(read_some).unwrap_or_default();
    let status = child.wait()?;
    Ok(Ended { raw_status: raw(status), stdout, stderr: errors.join().unwrap_or_default() })
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let shell = std::env::var_os(SHELL).unwrap_or_else(|| "/bin/sh".into());
    let mut process = Command::new(shell);
    process.arg("-c").arg(command);
    process
}

#[cfg(windows)]
fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt as _;
    let shell = std::env::var_os(SHELL).unwrap_or_else(|| "cmd.exe".into());
    let mut process = Command::new(shell);
    // cmd has its own quoting; the administrator's line goes to it as it is.
    process.arg("/C").raw_arg(command);
    process
}

#[cfg(unix)]
fn raw(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.into_raw()
}

#[cfg(not(unix))]
fn raw(status: std::process::ExitStatus) -> i32 {
    status.code().map_or(-1, |code| code.wrapping_mul(256))
}

/// Keeps the start of a stream and drains the rest, so that the command never waits for us.
fn read_some(mut stream: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let start = stream.by_ref().take(MOST_OUTPUT).read_to_end(&mut kept);
    if start.is_ok() {
        // A broken pipe only ends the output.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    kept
}

/// Output as text without control characters other than line ends.
fn printable(output: &[u8]) -> String {
    String::from_utf8_lossy(output)
        .trim_end()
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect()
}

fn report_stderr(ended: &Ended, client: &Client, hook: &str) {
    if !ended.stderr.is_empty() {
        let text = printable(&ended.stderr);
        tracing::info!(
            event = "hook.said",
            module = client.module,
            hook,
            text,
            "hook wrote to stderr"
        );
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn client() -> Client {
        Client {
            module: "mail".to_owned(),
            path: "/srv/my mail".to_owned(),
            address: "10.0.0.1".parse().ok(),
            host_name: Some("one.example.org".to_owned()),
            user: "joe".to_owned(),
            number: 77,
        }
    }

    fn args(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|arg| arg.as_bytes().to_vec()).collect()
    }

    /// Runs a command and gives what it printed.
    fn printed(script: &str, list: &[&str]) -> String {
        before_transfer(&format!("{script}; exit 3"), &client(), &args(list)).expect_err("exit 3")
    }

    #[test]
    fn hooks_see_rsyncds_variables() {
        assert_eq!(
            printed(
                "echo $RSYNC_MODULE_NAME,$RSYNC_MODULE_PATH,$RSYNC_HOST_ADDR,$RSYNC_HOST_NAME,$RSYNC_USER_NAME,$RSYNC_PID",
                &[],
            ),
            "pre-xfer exec returned failure (768): mail,/srv/my mail,10.0.0.1,one.example.org,joe,77"
        );
        assert_eq!(
            printed(
                "echo \"$RSYNC_REQUEST|$RSYNC_ARG0|$RSYNC_ARG1|$RSYNC_ARG2|$RSYNC_ARG3|$RSYNC_ARG4|$RSYNC_ARG5\"",
                &["--server", "-r", ".", "mail/a b", "mail/"],
            ),
            "pre-xfer exec returned failure (768): mail/a b mail/|rsyncd|--server|-r|.|a b|."
        );
    }

    #[test]
    fn success_prints_nothing_and_signals_are_failures() {
        assert_eq!(before_transfer("echo hello", &client(), &[]), Ok(()));
        assert_eq!(
            before_transfer("kill -9 $$", &client(), &[]),
            Err("pre-xfer exec returned failure (9)".to_owned())
        );
    }

    #[test]
    fn much_output_is_cut_and_does_not_hang() {
        let text = printed("yes | head -c 300000; yes | head -c 300000 >&2", &[]);
        assert!(text.len() < 9000, "{}", text.len());
    }

    #[test]
    fn output_cannot_carry_control_characters() {
        assert_eq!(
            printed("printf 'a\\033[31m\\nb\\n\\n'", &[]),
            "pre-xfer exec returned failure (768): a?[31m\nb"
        );
    }

    #[test]
    fn values_that_a_shell_could_act_on_are_not_put_into_a_command() {
        assert_eq!(before_transfer("test %RSYNC_USER_NAME% = joe", &client(), &[]), Ok(()));
        assert_eq!(
            before_transfer("echo %RSYNC_MODULE_PATH%", &client(), &[]),
            Err("refusing to run shell hook: %RSYNC_MODULE_PATH% holds a shell metacharacter"
                .to_owned())
        );
    }

    #[test]
    fn the_end_is_told_with_both_statuses() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("out");
        let command = format!(
            "echo $RSYNC_EXIT_STATUS $RSYNC_RAW_STATUS $RSYNC_USER_NAME > {}",
            file.display()
        );
        after_transfer(&command, &client(), ExitCode::Partial);
        let written = std::fs::read_to_string(&file).expect("written");
        assert_eq!(written, "23 5888 joe\n");
    }
}

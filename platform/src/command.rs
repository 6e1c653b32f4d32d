//! Runs a program without a shell, for a limited time, and keeps what it says.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use wait_timeout::ChildExt as _;

/// What is kept of either output, in bytes; the rest is read and dropped.
const KEPT: usize = 64 * 1024;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// Why a program said nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("{program} cannot be run: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} did not end within {} s", limit.as_secs_f32())]
    TooLong {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
}

/// Runs a program with nothing to read and waits for its end. One that is not done within `limit` is
/// killed.
///
/// # Errors
/// When it cannot be started or takes too long.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ran, CommandError> {
    let until = Instant::now() + limit;
    let program = command.get_program().display().to_string();
    let failed = |error| CommandError::Start { program: program.clone(), error };
    let too_long = || CommandError::TooLong { program: program.clone(), limit };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (keep(child.stdout.take()), keep(child.stderr.take()));
    let waited = child.wait_timeout(limit);
    let Ok(Some(status)) = waited else {
        // It may have ended just now; then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
        waited.map_err(failed)?;
        return Err(too_long());
    };
    // What it started may still hold its outputs open.
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let stdout = stdout.recv_timeout(left()).map_err(|_| too_long())?;
    let stderr = stderr.recv_timeout(left()).map_err(|_| too_long())?;
    Ok(Ran { status, stdout, stderr })
}

/// Reads an output to its end on a thread of its own, so that the program never waits.
fn keep(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut output) = output {
            let _ = (&mut output).take(KEPT as u64).read_to_end(&mut kept);
            let _ = io::copy(&mut output, &mut io::sink());
        }
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for the system's own command interpreter.
    fn line(unix: &str, windows: &str) -> Command {
        let (program, option, line) =
            if cfg!(windows) { ("cmd", "/c", windows) } else { ("sh", "-c", unix) };
        let mut command = Command::new(program);
        command.args([option, line]);
        command
    }

    #[test]
    fn keeps_what_a_program_says_and_how_it_ends() {
        let both = "echo out& echo err 1>&2& exit 3";
        let mut command = line("echo out; echo err >&2; exit 3", both);
        let ran = run(&mut command, Duration::from_secs(60)).expect("run");
        assert_eq!(ran.status.code(), Some(3));
        assert_eq!(ran.stdout.trim_ascii_end(), b"out");
        assert_eq!(ran.stderr.trim_ascii_end(), b"err");
    }

    #[test]
    fn ends_a_program_that_takes_too_long() {
        let mut command = line("while :; do :; done", "for /l %i in (0,0,1) do @rem");
        let error = run(&mut command, Duration::from_millis(300)).expect_err("endless");
        assert!(matches!(error, CommandError::TooLong { .. }), "{error}");
        assert!(error.to_string().contains("did not end within 0.3 s"), "{error}");
    }

    #[test]
    fn an_output_without_end_is_cut_and_holds_nothing_up() {
        let unix = "head -c 1000000 /dev/zero";
        let windows = "for /l %i in (1,1,2000) do @echo 0123456789012345678901234567890123456789";
        let ran = run(&mut line(unix, windows), Duration::from_secs(60)).expect("run");
        assert_eq!((ran.status.success(), ran.stdout.len()), (true, KEPT));
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = run(&mut Command::new("no-such-program"), Duration::from_secs(9));
        let text = error.expect_err("not there").to_string();
        assert!(text.starts_with("no-such-program cannot be run"), "{text}");
    }
}

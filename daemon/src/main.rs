//! The daemon program: command line, runtime, exit code.

use std::process::ExitCode;

use bascule_daemon::cli::Cli;
use bascule_daemon::daemon;
use bascule_engine::outcome::ExitCode as Code;
use bascule_platform::service::Control;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a closed output cannot be helped.
            let _ = error.print();
            let code = if error.use_stderr() { Code::Syntax.code() } else { 0 };
            return ExitCode::from(code);
        }
    };
    #[cfg(windows)]
    if let Some(name) = cli.daemon.service_name().map(ToOwned::to_owned) {
        let body = move |control| run(cli, Some(control));
        return match bascule_platform::service::scm::run(&name, body) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("basculed: {error}");
                ExitCode::from(Code::Syntax.code())
            }
        };
    }
    ExitCode::from(run(cli, None))
}

/// Runs the program; gives its exit code. `control` is the way to a manager that does not send
/// signals.
fn run(cli: Cli, control: Option<Control>) -> u8 {
    let is_service = control.is_some();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("basculed: no threads to be had: {error}");
            return Code::Memory.code();
        }
    };
    let ended = runtime.block_on(daemon::run(cli, control));
    // A read from standard input may never return.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(failure) if is_service => {
            // Nobody sees its standard error.
            daemon::log_failure(&failure);
            failure.exit.code()
        }
        Err(failure) => {
            eprintln!("basculed: {:#}", failure.error);
            failure.exit.code()
        }
    }
}

//! The daemon program: command line, runtime, exit code.

use std::process::ExitCode;

use bascule_daemon::cli::Cli;
use bascule_daemon::daemon;
use bascule_engine::outcome::ExitCode as Code;
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("basculed: no threads to be had: {error}");
            return ExitCode::from(Code::Memory.code());
        }
    };
    let ended = runtime.block_on(daemon::run(cli));
    // A read from standard input may never return.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("basculed: {:#}", failure.error);
            ExitCode::from(failure.exit.code())
        }
    }
}

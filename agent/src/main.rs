//! The agent program.

use std::process::ExitCode;

use bascule_agent::cli::{Cli, Command};
use bascule_agent::converge::command;
use bascule_agent::jobs::commands;
#[cfg(windows)]
use bascule_agent::service::options::Service;
use bascule_agent::{jobs, mirror, notices, restore, seal, service, verify};
use bascule_engine::outcome::ExitCode as Code;
use bascule_engine::stop::Stop;
use bascule_platform::service::Control;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors; a closed output cannot be helped.
            let _ = error.print();
            let code = if error.use_stderr() { Code::Syntax.code() } else { 0 };
            return ExitCode::from(code);
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    #[cfg(windows)]
    if let Command::Service(Service::Run(run)) = &cli.command
        && let Some(name) = run.windows_service.clone()
    {
        let body = move |control| run_program(&cli, &matches, Some(control));
        return match bascule_platform::service::scm::run(&name, body) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bascule: {error}");
                ExitCode::from(Code::Syntax.code())
            }
        };
    }
    ExitCode::from(run_program(&cli, &matches, None))
}

/// Runs the program; gives its exit code. `control` is the way to a manager that does not send
/// signals.
fn run_program(cli: &Cli, matches: &ArgMatches, control: Option<Control>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bascule: no threads to be had: {error}");
            return Code::Memory.code();
        }
    };
    let ended: anyhow::Result<u8> = runtime.block_on(async {
        // A service hears from its manager.
        if let Command::Service(asked) = &cli.command {
            return service::commands::run(asked, control).await;
        }
        let stop = Stop::new();
        let asked = stop.clone();
        tokio::spawn(async move {
            if bascule_platform::signals::interrupted().await.is_ok() {
                asked.stop();
                // Whoever asks twice cannot wait for a disk or a peer that does not answer.
                if bascule_platform::signals::interrupted().await.is_ok() {
                    std::process::exit(Code::Interrupted.code().into());
                }
            }
        });
        let code = match &cli.command {
            Command::Mirror(mirror) => {
                let own = matches.subcommand_matches("mirror").unwrap_or(matches);
                mirror::mirror(mirror, own, stop).await
            }
            Command::Verify(verify) => {
                let own = matches.subcommand_matches("verify").unwrap_or(matches);
                verify::verify(verify, own, stop).await
            }
            Command::List(list) => mirror::list(list, stop).await,
            Command::Restore(restore) => restore::restore(restore, stop).await,
            Command::Init(init) => jobs::init::init(init),
            Command::Check(check) => jobs::check::check(check, stop).await,
            Command::Run(run) => commands::run(run, stop).await,
            Command::Status(status) => commands::status(status),
            Command::History(history) => commands::history(history),
            Command::Show(show) => commands::show(show),
            Command::Diff(diff) => commands::diff(diff, stop).await,
            Command::Seal(seal) => seal::seal(seal),
            Command::Notify(notify) => notices::command::notify(notify).await,
            Command::Service(_) => unreachable!("it was seen to above"),
            // Its verdicts have codes of their own.
            Command::Converge(converge) => return command::converge(converge, stop).await,
        };
        Ok(code?.code())
    });
    // Threads that a process leaves running at its end have crashed it there (seen with Wine). One
    // that waits for a disk or a terminal is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bascule: {error:#}");
            Code::Syntax.code()
        }
    }
}

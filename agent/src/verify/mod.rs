//! `bascule verify`: an independent comparison of both ends, which changes neither.
//!
//! ```text
//! listed end (a daemon, or a tree) ── entries ──► compare ◄── held end (a tree)
//!                                                    │ pairs of files
//!                                                    ▼
//!                                     hash (threads) ──► findings ──► report
//! ```
//!
//! None of it is code that a mirror uses to decide what to transfer: [`judge`] and [`compare`] see
//! the walker's and the daemon's lists only.

pub mod compare;
pub mod context;
pub mod ends;
pub mod findings;
pub mod hash;
pub mod judge;
pub mod listener;
pub mod options;
pub mod remote;
pub mod report;
pub mod state;
pub mod text;
pub mod tree;
pub mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use bascule_engine::backup::TRASH;
use bascule_engine::outcome::{ExitCode, Fatal};
use bascule_engine::stop::Stop;
use bascule_wire::Options;
use bascule_wire::filter::Rule;
use clap::ArgMatches;
use jiff::Timestamp;

use crate::options::{bytes, filters};
use crate::progress::Progress;
use bascule_wire::shown;
use context::Context;
use findings::End;
use judge::{Judge, Window};
use options::Verify;
use report::{Circumstances, Proof, Report};
use state::State;
use work::Work;

/// Runs `bascule verify`; the exit code says how it went.
///
/// # Errors
/// When the command line makes no sense.
pub async fn verify(cli: &Verify, matches: &ArgMatches, stop: Stop) -> anyhow::Result<ExitCode> {
    if let Some(file) = &cli.check {
        return Ok(check(file));
    }
    let rules = rules(cli, matches)?;
    let sides = match ends::resolve(&cli.paths)? {
        Ok(sides) => sides,
        Err(unusable) => return Ok(failed(&Fatal::new(ExitCode::FileSelection, unusable))),
    };
    for file in [&cli.report, &cli.resume].into_iter().flatten() {
        ends::keep_out(file, &sides)?;
    }
    let state = cli.resume.as_deref().map(State::open).transpose()?;
    let progress = Progress::start(!cli.no_progress && !cli.quiet, "read");
    let places = [sides[0].place(), sides[1].place()];
    let context = Arc::new(Context::new(places, state, progress, stop));
    let (began, clock) = (Timestamp::now(), Instant::now());
    let judge = Judge {
        perms: cli.perms,
        owner: cli.owner,
        dir_times: !cli.omit_dir_times,
        link_times: !cli.omit_link_times,
        window: Window::of(cli.modify_window),
    };
    let options = listed(cli);
    let work = Work { cli, context: Arc::clone(&context), judge, options, rules };
    let outcome = work.compare(&sides).await?;
    context.progress.finish();
    if let Some(state) = &context.state {
        let kept = if outcome.is_ok() { state.remove() } else { state.save() };
        if let Err(error) = kept {
            eprintln!("bascule: {error:#}");
        }
    }
    let judge = match outcome {
        Ok(judge) => judge,
        Err(fatal) => {
            if fatal.exit == ExitCode::Interrupted && cli.resume.is_some() {
                eprintln!("bascule: run it again with the same --resume to go on from here");
            }
            return Ok(failed(&fatal));
        }
    };
    let found = context.findings.sum();
    let about = Circumstances {
        source: sides[0].name(),
        target: sides[1].name(),
        began,
        proof: Proof {
            digest: context.digest_name().to_owned(),
            times: judge.window.to_string(),
            permissions: judge.perms,
            owners: judge.owner,
        },
        names: [context.tally.names(End::Source), context.tally.names(End::Target)],
        compared: context.tally.compared_so_far(),
    };
    let report = Report::new(about, &found)?;
    if let Some(file) = &cli.report {
        report.write(file)?;
    }
    if !cli.quiet {
        println!("{}", text::report(&report, &found, clock.elapsed()));
        if cli.report.is_some() {
            println!("digest of the report: {}", report.digest);
        }
    }
    Ok(report::exit_code(&found))
}

/// What both ends are asked to list.
fn listed(cli: &Verify) -> Options {
    Options {
        recurse: true,
        links: true,
        devices: true,
        specials: true,
        times: true,
        perms: true,
        owner: true,
        group: true,
        numeric_ids: true,
        one_file_system: cli.one_file_system.into(),
        timeout: cli.connection.timeout,
        protocol: cli.protocol,
        ..Options::default()
    }
}

/// The filter rules: those of a mirror that concern both ends.
fn rules(cli: &Verify, matches: &ArgMatches) -> anyhow::Result<Vec<Rule>> {
    let rules = filters(&cli.names, matches, Some(&bytes(&cli.partial_dir)))?;
    // The trash is left out at either end by rules of its own.
    let is_own = |rule: &Rule| rule.pattern.ends_with(TRASH.as_bytes());
    if let Some(rule) =
        rules.iter().find(|rule| rule.sender_side != rule.receiver_side && !is_own(rule))
    {
        bail!(
            "filter rule {}: a rule for one end only has no place in a verification; what is left \
             out is left out at both ends",
            shown(&rule.pattern)
        );
    }
    Ok(rules)
}

/// Runs `bascule verify --check`.
fn check(file: &Path) -> ExitCode {
    match report::check(file) {
        Ok(Some(report)) => {
            let verdict = if report.identical { "identical" } else { "NOT identical" };
            println!(
                "{}: unaltered; {verdict} on {}\n  source     {}\n  target     {}\n  digest     {}",
                file.display(),
                report.ended,
                report.source,
                report.target,
                report.digest,
            );
            ExitCode::Success
        }
        Ok(None) => {
            println!("{}: ALTERED: it is not as it was written", file.display());
            ExitCode::Partial
        }
        Err(error) => {
            eprintln!("bascule: {error:#}");
            ExitCode::FileSelection
        }
    }
}

fn failed(fatal: &Fatal) -> ExitCode {
    eprintln!("bascule: {fatal}");
    fatal.exit
}

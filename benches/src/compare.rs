//! Side by side: the real rsync and Bascule at either end, on a tree of messages.
//!
//! Every pair runs once in each round, in rotating order, each with a target of its own, so that
//! a noisy machine is noisy for all; the ratios are what counts. After each run the target is
//! compared with the source by `rsync -ainc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bascule_tests::mail::{self, Shape};
use bascule_tests::peer::{Daemon, Whose, client};
use clap::{Parser, ValueEnum};

/// Compares rsync and Bascule at either end of a connection.
#[derive(Debug, Parser)]
struct Cli {
    /// What to measure.
    #[arg(value_enum, default_values = ["first", "unchanged", "churn"])]
    scenarios: Vec<Scenario>,
    /// Messages in the tree.
    #[arg(long, default_value_t = 50_000)]
    files: usize,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the trees go.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Skip the comparison after each run.
    #[arg(long)]
    unchecked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Scenario {
    /// Into an empty target.
    First,
    /// Nothing to do.
    Unchanged,
    /// 1 % changed, 1 % new, 1 % deleted.
    Churn,
}

type Pair = (Whose, Whose);

const PAIRS: [Pair; 4] = [
    (Whose::Rsync, Whose::Rsync),
    (Whose::Ours, Whose::Rsync),
    (Whose::Rsync, Whose::Ours),
    (Whose::Ours, Whose::Ours),
];

/// One run.
#[derive(Debug, Clone, Copy)]
struct Measured {
    seconds: f64,
    client_kib: u64,
    daemon_kib: u64,
}

/// Runs the program.
///
/// # Errors
/// When a run fails or its target differs.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let scratch = match &cli.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let root = scratch.path();
    let made = mail::tree(&root.join("source"), Shape::of(cli.files))?;
    println!("{} files, {} MiB in {}", made.files, made.bytes >> 20, root.display());
    let mut table: BTreeMap<(Scenario, usize), Vec<Measured>> = BTreeMap::new();
    for scenario in &cli.scenarios {
        for round in 0..cli.rounds {
            if *scenario == Scenario::Churn {
                mail::churn(&root.join("source"), 0.01, round as u64 + 1)?;
            }
            for turn in 0..PAIRS.len() {
                let number = (round + turn) % PAIRS.len();
                let measured = run(root, *scenario, number, cli.unchecked)?;
                table.entry((*scenario, number)).or_default().push(measured);
            }
        }
    }
    print(&table);
    Ok(())
}

fn run(
    root: &Path,
    scenario: Scenario,
    number: usize,
    unchecked: bool,
) -> anyhow::Result<Measured> {
    let (agent, daemon) = PAIRS[number];
    let source = root.join("source");
    let target = root.join(format!("target{number}"));
    if scenario == Scenario::First && target.exists() {
        fs::remove_dir_all(&target)?;
    }
    if !target.exists() {
        fs::create_dir(&target)?;
        if scenario != Scenario::First {
            rsync(&["-a"], &source, &target)?;
        }
    }
    let config = format!(
        "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
         [m]\npath = {}\nread only = no\n",
        target.display()
    );
    let serving = Daemon::start(daemon, root, &config);
    let mut command = client(agent, &[]);
    command.arg(format!("{}/", source.display()));
    command.arg(format!("rsync://127.0.0.1:{}/m/", serving.port));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().context("the client")?;
    let ended = AtomicBool::new(false);
    let (status, client_kib, daemon_kib) = std::thread::scope(|scope| {
        let (ids, ended) = ((child.id(), serving.id()), &ended);
        let watching = scope.spawn(move || watch(ids, ended));
        let status = child.wait();
        ended.store(true, Ordering::Relaxed);
        let (client, daemon) = watching.join().unwrap_or_default();
        (status, client, daemon)
    });
    let seconds = began.elapsed().as_secs_f64();
    if !status?.success() {
        bail!("{agent} → {daemon} failed");
    }
    if !unchecked {
        let said = rsync(&["-ainc", "--delete", "--modify-window=-1"], &source, &target)?;
        if !said.is_empty() {
            bail!("{agent} → {daemon}: the target differs:\n{said}");
        }
    }
    Ok(Measured { seconds, client_kib, daemon_kib })
}

/// The real rsync between two local folders; gives what it printed.
fn rsync(options: &[&str], source: &Path, target: &Path) -> anyhow::Result<String> {
    let output = Command::new("rsync")
        .args(options)
        .args([format!("{}/", source.display()), format!("{}/", target.display())])
        .output()
        .context("rsync (install it from Debian's packages)")?;
    if !output.status.success() {
        bail!("rsync: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The largest resident process of each side, in KiB, until `ended`.
fn watch((agent, daemon): (u32, u32), ended: &AtomicBool) -> (u64, u64) {
    let (mut client, mut server) = (0, 0);
    while !ended.load(Ordering::Relaxed) {
        client = client.max(peak(agent));
        for process in with_children(daemon) {
            server = server.max(peak(process));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (client, server)
}

fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

fn with_children(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    found
}

fn print(table: &BTreeMap<(Scenario, usize), Vec<Measured>>) {
    println!(
        "{:<10} {:<19} {:>8} {:>22} {:>11} {:>11}",
        "scenario", "client → daemon", "seconds", "× rsync (min–max)", "client MiB", "daemon MiB"
    );
    for ((scenario, number), runs) in table {
        let (agent, daemon) = PAIRS[*number];
        let base = table.get(&(*scenario, 0)).map_or(&[][..], Vec::as_slice);
        let ratios: Vec<f64> =
            runs.iter().zip(base).map(|(run, base)| run.seconds / base.seconds).collect();
        let mib =
            |kib: fn(&Measured) -> u64| median(runs.iter().map(|run| kib(run) as f64)) / 1024.0;
        println!(
            "{:<10} {:<19} {:>8.2} {:>9.2} ({:.2}–{:.2}) {:>11.1} {:>11.1}",
            format!("{scenario:?}").to_lowercase(),
            format!("{agent} → {daemon}"),
            median(runs.iter().map(|run| run.seconds)),
            median(ratios.iter().copied()),
            ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratios.iter().copied().fold(0.0, f64::max),
            mib(|run| run.client_kib),
            mib(|run| run.daemon_kib),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! The command line of `bascule converge`.

use clap::Args;

use crate::jobs::options::Configuration;

/// Options of `bascule converge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 converged; 40 converging (with --look or --max-runs); 41 stalled; 42 blocked; 20 \
interrupted.")]
pub struct Converge {
    /// The job.
    pub job: String,
    /// A run has to take less than this, such as 10m, 90s or 1h30m; the job's own goal counts for
    /// what is not said here.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub under: Option<f64>,
    /// And move no more than NUM files, deletions included.
    #[arg(long, value_name = "NUM")]
    pub max_files: Option<u64>,
    /// And no more than SIZE of files, such as 500m.
    #[arg(long, value_name = "SIZE", value_parser = crate::cli::bytes)]
    pub max_bytes: Option<u64>,
    /// So many times in a row.
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    pub times: Option<u16>,
    /// Begin a run no sooner than this after the beginning of the one before it.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = pause)]
    pub every: f64,
    /// Go on when the series has converged, stalled or blocked: keep the target near until the switch.
    #[arg(long)]
    pub keep: bool,
    /// End after NUM runs.
    #[arg(long, value_name = "NUM", conflicts_with = "keep", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_runs: Option<u32>,
    /// Run nothing; say where the job stands and what to expect.
    #[arg(long, conflicts_with_all = ["keep", "every", "max_runs"])]
    pub look: bool,
    /// Print a JSON document after each run instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Seconds, more than none, from a text such as `10m` or `1h 30m`.
///
/// # Errors
/// When it is something else.
pub fn time(text: &str) -> Result<f64, String> {
    match pause(text) {
        Ok(seconds) if seconds > 0.0 => Ok(seconds),
        Ok(_) => Err("expected a time longer than none, such as 10m".to_owned()),
        Err(error) => Err(error),
    }
}

/// The same, where no time at all is one as well.
fn pause(text: &str) -> Result<f64, String> {
    let wrong = || "expected a time such as 10m, 90s or 1h30m".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    if span.is_negative() { Err(wrong()) } else { Ok(span.as_secs_f64()) }
}

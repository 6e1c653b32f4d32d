//! Benchmarks of Bascule against the real rsync.

#[cfg(unix)]
mod compare;

#[cfg(unix)]
fn main() -> anyhow::Result<()> {
    compare::run_all()
}

#[cfg(not(unix))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the comparison needs a stock rsync and its daemon: run it on Linux")
}

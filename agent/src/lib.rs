//! `bascule`, the agent: mirrors folders to or from an rsync daemon.

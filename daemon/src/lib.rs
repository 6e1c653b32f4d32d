//! `basculed`, the daemon: serves rsync modules.

//! Operating system services; nothing here speaks rsync.

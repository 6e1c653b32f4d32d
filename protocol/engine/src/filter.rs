//! Which names take part: rules, per-directory merge files, protection from deletion (§7).

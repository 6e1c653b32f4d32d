//! File indexes and the markers that share their code (§1).

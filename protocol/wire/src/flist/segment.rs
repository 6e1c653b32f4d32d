//! Sorted segments of the list and the directory table (§9.5, §10).

//! Block sums: the head, the block-size rule, the list (§6).

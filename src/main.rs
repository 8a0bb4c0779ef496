//! The `clawport` binary.

fn main() {}

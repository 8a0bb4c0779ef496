//! A small native client for the command line, tests and benches.

//! The `clawport` binary; everything it does is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    clawport::cli::run()
}

//! `soak-tests`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    soak_tests::program()
}

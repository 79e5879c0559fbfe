//! The `saltlake` binary; see [`saltlake::process`].

use std::process::ExitCode;

fn main() -> ExitCode {
    saltlake::process::main()
}

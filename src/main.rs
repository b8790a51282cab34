//! Arguments, configuration, start, exit code; no logic.

use std::process::ExitCode;

/// Measured: steadier than the system's allocator over many small tunnels.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ExitCode::from(tidegate::command_line())
}

//! Thin binary: arguments in, exit code out.

/// Flows come and go in every order of size: this one is faster at it than the C library's, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cleartap::cli::main()
}

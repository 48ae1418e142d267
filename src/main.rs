//! Thin binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    cleartap::cli::main()
}

//! The server's program: everything is in the library, so that tests can start it too.

fn main() -> std::process::ExitCode {
    controlplane::cli::main()
}

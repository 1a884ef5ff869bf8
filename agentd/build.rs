//! How the release is linked: without symbols (a package whose optimisation is set in the profile keeps
//! them), and with functions that are the same kept once, where the linker can.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Nothing of ours compares the addresses of functions.
const FOLD: &str = "-Wl,--icf=all";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
        if links_with(FOLD).unwrap_or(false) {
            println!("cargo::rustc-link-arg-bins={FOLD}");
        }
    }
}

/// Whether a program can be linked so: tried, because which linker is used is decided in many places.
fn links_with(argument: &str) -> Option<bool> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR")?);
    let source = out.join("empty.rs");
    std::fs::write(&source, "fn main() {}").ok()?;
    let mut rustc = Command::new(std::env::var_os("RUSTC")?);
    rustc.arg("--target").arg(std::env::var_os("TARGET")?);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.arg("-C").arg(format!("link-arg={argument}"));
    rustc.arg("-o").arg(out.join("empty")).arg(source);
    rustc.stdout(Stdio::null()).stderr(Stdio::null());
    Some(rustc.status().ok()?.success())
}

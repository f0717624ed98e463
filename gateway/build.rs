//! Compiles the kernel path's programs with clang; nothing binary is committed.
//!
//! Without clang the build passes: such a gateway has no interception "kernel", and says so where it is asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where Debian puts clang: that it comes or goes is a reason to build again.
const CLANG: &str = "/usr/bin/clang";

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed={CLANG}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    for name in ["flow", "drops"] {
        let text = match compile(name, &out.join(format!("{name}.o"))) {
            Ok(()) => {
                format!("Some(aya::include_bytes_aligned!(concat!(env!(\"OUT_DIR\"), \"/{name}.o\")))")
            }
            Err(problem) => {
                println!("cargo:warning=without interception \"kernel\": {problem}");
                "None".to_owned()
            }
        };
        if let Err(error) = fs::write(out.join(format!("{name}.rs")), text) {
            println!("cargo:warning=cannot write {name}.rs: {error}");
        }
    }
}

/// Makes one of the objects; why it cannot be made.
fn compile(name: &str, object: &Path) -> Result<(), String> {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    // Where Debian keeps asm/types.h, which linux/types.h wants.
    let headers = format!("-I/usr/include/{arch}-linux-gnu");
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", &headers, "-c"])
        .args([&format!("bpf/{name}.bpf.c"), "-o"])
        .arg(object)
        .output()
        .map_err(|error| format!("{} cannot be run ({error}); Debian: apt install clang", clang.display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

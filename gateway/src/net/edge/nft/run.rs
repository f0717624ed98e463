//! Runs nft and ip, and tells what they said.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::NftError;

/// What the rules need.
const REMEDY: &str = "these rules need root (CAP_NET_ADMIN) and a kernel with nft_tproxy and nft_socket";
/// What routes of IPv6 need besides.
const REMEDY_V6: &str = "is IPv6 switched off on this machine? Then leave out the transparent listener with an IPv6 address, else run this as root";

/// Runs `nft` with a text on its standard input.
pub(super) fn nft(arguments: &[&str], text: &str) -> Result<(), NftError> {
    let started = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let failed = |source| NftError::Start { program: "nft", package: "nftables", source };
    let mut child = started.map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // What it does not read it does not want; its own word says why.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    judge(format!("nft {}", arguments.join(" ")), &output)
}

/// Runs a command of `ip`.
pub(super) fn ip(command: &str) -> Result<(), NftError> {
    let output = Command::new("ip").args(command.split_whitespace().skip(1)).stdin(Stdio::null()).output();
    let output = output.map_err(|source| NftError::Start { program: "ip", package: "iproute2", source })?;
    judge(command.to_owned(), &output)
}

/// What a command came to.
pub(super) fn judge(command: String, output: &Output) -> Result<(), NftError> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().take(4).collect::<Vec<_>>().join(" / ");
    let remedy = if command.starts_with("ip -6 ") { REMEDY_V6 } else { REMEDY };
    Err(NftError::Refused { command, said, remedy })
}

//! `gateway session`: who has an address, asked of the gateway that runs.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::check::Format;
use crate::app::EXIT_IO;

/// Exit code: nobody has it.
const EXIT_NOBODY: u8 = 1;
/// How long the admin endpoint may take at each step.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer; a real one has some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway session 100.64.3.7
  gateway session 198.51.100.1:40312 --format json
  gateway session '[2001:db8::1]:443' --admin 10.0.0.2:9464

It is the answer for flows that begin now. The port is asked for where the operator's translator gives several subscribers one
address. Exit codes: 0 somebody has it, 1 nobody has, 2 wrong use, 74 the gateway does not answer.";

/// Who has an address?
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address, or address and port
    #[arg(value_name = "ADDRESS[:PORT]")]
    pub whose: Whose,
    /// Admin endpoint of the gateway (admin.address)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub admin: SocketAddr,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Plain)]
    pub format: Format,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for Whose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let socket: SocketAddr = text.parse().map_err(|_| {
            "wanted an address, or one with a port, such as 198.51.100.1, 198.51.100.1:40312 or [2001:db8::1]:443"
                .to_owned()
        })?;
        Ok(Self { address: socket.ip(), port: Some(socket.port()) })
    }
}

/// Runs the command: the answer on standard output.
pub fn run(args: &Args) -> ExitCode {
    let answer = match ask(args) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!(
                "session: the gateway does not answer at {}: {error}; is it running, and is this its admin.address?",
                args.admin
            );
            return ExitCode::from(EXIT_IO);
        }
    };
    let is_somebodys = answer.get("state").is_some_and(|state| state != "nobody");
    let text = match args.format {
        Format::Json => format!("{answer}\n"),
        Format::Plain => plain(&answer),
    };
    // Who reads no further (`| head`) knows.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    if is_somebodys { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOBODY) }
}

/// Asks the admin endpoint.
fn ask(args: &Args) -> io::Result<Value> {
    let Whose { address, port } = args.whose;
    let port = port.map_or_else(String::new, |port| format!("&port={port}"));
    let mut stream = TcpStream::connect_timeout(&args.admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /api/v1/session?address={address}{port} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        args.admin
    )?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("found no HTTP answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        let line = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("found \"{line}\", wanted 200: is it an older gateway?")));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}

/// The answer for people, a line each; what does not apply is left out.
fn plain(answer: &Value) -> String {
    const KEYS: [(&str, &str); 9] = [
        ("state", "state"),
        ("subscriber_type", "subscriber type"),
        ("subscriber_id", "subscriber"),
        ("session_id", "session"),
        ("realm", "realm"),
        ("nas", "access server"),
        ("start_utc", "since"),
        ("heard_utc", "last heard of"),
        ("port", "port"),
    ];
    let word = |key: &str| match answer.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let lines = KEYS.iter().filter_map(|(key, name)| Some(format!("{name:<16} {}\n", word(key)?)));
    let address = word("address").unwrap_or_default();
    std::iter::once(format!("{:<16} {address}\n", "address")).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_with_and_without_a_port() {
        let whose =
            |text: &str| text.parse::<Whose>().map(|Whose { address, port }| (address.to_string(), port));
        assert_eq!(whose("198.51.100.1").unwrap(), ("198.51.100.1".to_owned(), None));
        assert_eq!(whose("198.51.100.1:0").unwrap(), ("198.51.100.1".to_owned(), Some(0)));
        assert_eq!(whose("2001:db8::1").unwrap(), ("2001:db8::1".to_owned(), None));
        assert_eq!(whose("[2001:db8::1]:443").unwrap(), ("2001:db8::1".to_owned(), Some(443)));
        for wrong in ["", "bng-1", "198.51.100.1:65536", "198.51.100.0/24"] {
            assert!(whose(wrong).unwrap_err().contains("wanted an address"), "{wrong}");
        }
    }
}

//! The log: messages on standard error. Names, addresses and queries of subscribers appear at DEBUG and below only.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Says why the process ends, where the log goes: a line each, as it is for people.
pub fn tell(shape: Shape, lines: &[String]) {
    for line in lines {
        match shape {
            Shape::Text => eprintln!("{line}"),
            Shape::Json => tracing::error!("{line}"),
        }
    }
}

/// A panic is a line of the log, too.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(ToOwned::to_owned);
        tracing::error!(thread, place, "panicked: {}", panic.payload_as_str().unwrap_or("without a word"));
    }));
}

/// Sends the log of this process to standard error, once; libraries below us speak at WARN and above only.
pub fn install(level: &str, shape: Shape) {
    // The resolver library names the questions it asks, which are what subscribers visit: it does not speak here at all.
    let filter = EnvFilter::new(format!(
        "warn,hickory_net=off,hickory_proto=off,hickory_resolver=off,gateway={level}"
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    // A second call (tests start several nodes in one process) leaves the first one in place.
    let _ = match shape {
        Shape::Text => builder.try_init(),
        Shape::Json => {
            let installed = builder.json().try_init();
            if installed.is_ok() {
                tell_panics();
            }
            installed
        }
    };
}

//! The kernel path: packets stay in the kernel, which counts and marks them, in network namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "edge_kernel/changes.rs"]
mod changes;
#[path = "edge_kernel/commands.rs"]
mod commands;
#[path = "edge_kernel/counts.rs"]
mod counts;
#[path = "edge_kernel/fraud.rs"]
mod fraud;
#[path = "edge_kernel/marks.rs"]
mod marks;
#[path = "edge_kernel/merely_forwarded.rs"]
mod merely_forwarded;
#[path = "edge_kernel/restarts.rs"]
mod restarts;
#[path = "edge_kernel/room.rs"]
mod room;
#[path = "edge_kernel/sessions.rs"]
mod sessions;
#[path = "edge_kernel/shaper.rs"]
mod shaper;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use support::client::{finish, read_exactly};
use support::edge::{Edge, foreign, origin};
use support::hellos::Hello;
use support::link::Link;
use support::origin::{self as origins, Origin};
use support::{PATIENCE, Setup};

/// A gateway whose UDP flows, and what else subscribers do, end soon after they are silent.
fn edge() -> Option<Edge> {
    with(|setup| setup)
}

/// The same with changes.
fn with(change: impl FnOnce(Setup) -> Setup + Send) -> Option<Edge> {
    Edge::with("kernel", |setup| {
        let setup =
            setup.set("limits", "udp_idle_timeout = \"3 s\"").set("limits", "quic_idle_timeout = \"3 s\"");
        change(setup.set("limits", "identify_deadline = \"1 s\""))
    })
}

/// Sends back what comes.
fn echoes(edge: &Edge) -> Vec<Origin> {
    edge.link.in_internet(|| {
        [origin(0, 443), origin(1, 443), foreign(0, 443), foreign(1, 443)]
            .map(|address| Origin::at(address, origins::echo))
            .into()
    })
}

/// A hello, and application data behind it.
fn hello(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends bytes and has them back.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(read_exactly(stream, bytes.len()), bytes);
}

/// A visit: hello, echo, orderly end.
fn visit(edge: &Edge, to: SocketAddr, name: &str) {
    visit_over(&edge.link, to, name);
}

/// The same, whether there is a gateway or not.
fn visit_over(link: &Link, to: SocketAddr, name: &str) {
    let mut stream = link.at_subscriber(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    echo(&mut stream, &hello(name));
    assert_eq!(finish(stream), b"");
}

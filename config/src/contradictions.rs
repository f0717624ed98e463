//! Sections that contradict each other: two that listen at one place, or two that write into one folder.

use crate::edge::Edge;
use crate::export;
use crate::listener::{Listener, Mode, Protocol};
use crate::node::Node;
use crate::reader::{Mismatch, Reader};
use crate::section::Stated;
use crate::sink;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

/// The admin server cannot listen where a listener does.
pub(crate) fn judge_addresses(reader: &mut Reader<'_>, listeners: &[Listener], admin: &Stated<SocketAddr>) {
    if admin.sound
        && admin.value.port() != 0
        && listeners.iter().any(|listener| listener.listens() && listener.address == admin.value)
    {
        let fault =
            Mismatch::new(format!("{}, which a listener has", admin.value), "another address or port");
        reader.wrong("admin.address", admin.at, fault);
    }
}

/// A transparent listener takes datagrams at each port of `edge.udp_ports`, for it answers from there: another listener's would
/// be dealt out between the two.
pub(crate) fn judge_ports(reader: &mut Reader<'_>, listeners: &[Listener], edge: &Edge) {
    let takes = |listener: &&Listener| listener.serves(Protocol::Udp);
    let is_transparent = |listener: &&Listener| listener.mode == Mode::Transparent && listener.listens();
    for (number, listener) in
        listeners.iter().enumerate().filter(|(_, one)| takes(one) && one.mode != Mode::Transparent)
    {
        let (ip, port) = (listener.address.ip(), listener.address.port());
        let meets = |other: &&Listener| {
            let theirs = other.address.ip();
            theirs.is_ipv4() == ip.is_ipv4()
                && (theirs == ip || theirs.is_unspecified() || ip.is_unspecified())
        };
        let taken = listeners.iter().filter(takes).filter(is_transparent).any(|other| meets(&other));
        if taken && edge.udp_ports.contains(&port) {
            let found = format!("UDP port {port}, which edge.udp_ports has for a transparent listener");
            let fault = Mismatch::new(found, "another port, or protocols = [\"tcp\"] here");
            let at = listener_at(reader, number, "address");
            reader.wrong(format!("listener[{number}].address"), at, fault);
        }
    }
}

/// Where the kernel counts packets, it must be told which side is the subscribers', it counts IP bytes, and nobody else takes
/// the same flows.
pub(crate) fn judge_kernel(
    reader: &mut Reader<'_>,
    listeners: &[Listener],
    edge: &Edge,
    export: Option<&export::Placed>,
) {
    let Some(number) = listeners.iter().position(|listener| !listener.listens()) else { return };
    let key = format!("listener[{number}].interception");
    let at = listener_at(reader, number, "interception");
    if edge.interfaces.is_empty() {
        let fault =
            Mismatch::new("\"kernel\" without edge.interfaces", "the interfaces on the subscribers' side");
        reader.wrong(&key, at, fault.remedy("name them in edge.interfaces, such as [\"eth1\", \"ppp*\"]"));
    }
    if export.is_some_and(|placed| placed.export.byte_basis == export::ByteBasis::Payload) {
        let fault = Mismatch::new("\"kernel\" beside export.byte_basis = \"payload\"", "\"ip\"");
        reader.wrong(&key, at, fault.remedy("the kernel counts packets with their headers"));
    }
    let is_taken = |listener: &&Listener| listener.mode == Mode::Transparent && listener.listens();
    if listeners.iter().any(|listener| is_taken(&listener)) {
        let fault = Mismatch::new("\"kernel\" beside \"tproxy\" or \"redirect\"", "one of them");
        reader.wrong(&key, at, fault.remedy("flows would be counted on both ways"));
    }
}

/// Byte offset of a listener's key, or of the listener.
fn listener_at(reader: &Reader<'_>, number: usize, key: &str) -> usize {
    let sections = reader.root().get("listener").and_then(|array| array.get_ref().as_array());
    let Some(section) = sections.and_then(|sections| sections.get(number)) else { return 0 };
    section.get_ref().get(key).map_or(section.span().start, |value| value.span().start)
}

/// State, pickup and staging are folders of their own, and so are those of every sink: billing empties some of them, and the
/// gateway others.
pub(crate) fn judge_folders(
    reader: &mut Reader<'_>,
    node: &Node,
    placed: &export::Placed,
    sinks: &[sink::Placed],
) {
    let export = &placed.export;
    let mut taken = vec![("node.state_dir".to_owned(), tidy(&node.state_dir))];
    let mut folders = vec![
        ("export.dir".to_owned(), &export.dir, placed.dir_at),
        ("export.staging_dir".to_owned(), &export.staging_dir, placed.staging_at),
    ];
    for sink::Placed { sink, name, dir_at, staging_at } in sinks {
        folders.push((format!("{name}.dir"), &sink.dir, *dir_at));
        folders.push((format!("{name}.staging_dir"), &sink.staging_dir, *staging_at));
    }
    for (key, path, at) in folders {
        let tidied = tidy(path);
        match taken.iter().find(|(_, other)| *other == tidied) {
            Some((other, _)) => {
                let found = format!("{}, which is {other}", path.display());
                reader.wrong(key, at, Mismatch::new(found, "a folder of its own"));
            }
            None => taken.push((key, tidied)),
        }
    }
}

/// A path without `.` and `x/..`, for comparison only: symbolic links are not followed here.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some() => {
                tidy.pop();
            }
            Component::ParentDir | Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                tidy.push(component);
            }
        }
    }
    tidy
}

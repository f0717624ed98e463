//! Writes captures for tests: packets of every kind, TLS hellos and requests, pcap and pcapng files.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::gateway;

pub const ETHERNET: u16 = 1;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// The list that end-to-end tests judge by.
pub fn list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../captures/list.toml")
}

/// The directory of captures made with real programs.
pub fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../captures")
}

/// Runs `gateway classify` with the test list.
pub fn classify(arguments: &[&str], files: &[&Path]) -> Output {
    Command::new(gateway())
        .args(["classify", "--list"])
        .arg(list())
        .args(arguments)
        .args(files)
        .output()
        .unwrap()
}

/// The lines of a run, as JSON values.
pub fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes `packets` as a classic Ethernet capture and classifies it: exit code 0, nothing to warn about.
pub fn classified(packets: &[Vec<u8>]) -> Vec<serde_json::Value> {
    classified_link(ETHERNET, packets)
}

/// The same with another link type.
pub fn classified_link(link: u16, packets: &[Vec<u8>]) -> Vec<serde_json::Value> {
    let (lines, told) = classified_told(link, packets);
    assert_eq!(told, "");
    lines
}

/// The lines, and what is said of the capture: exit code 0.
pub fn classified_told(link: u16, packets: &[Vec<u8>]) -> (Vec<serde_json::Value>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.pcap");
    std::fs::write(&path, pcap(link, packets)).unwrap();
    let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
    assert_eq!(output.status.code(), Some(0));
    (lines(&output), String::from_utf8(output.stderr).unwrap())
}

/// A classic little-endian file with microseconds.
pub fn pcap(link: u16, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(u32::from(link).to_le_bytes());
    for (number, packet) in packets.iter().enumerate() {
        file.extend((1_600_000_000 + number as u32 / 1000).to_le_bytes());
        file.extend((number as u32 % 1000).to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend((packet.len() as u32).to_le_bytes());
        file.extend(packet);
    }
    file
}

/// A pcapng block.
pub fn block(kind: u32, body: &[u8], little: bool) -> Vec<u8> {
    let number = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let padding = body.len().next_multiple_of(4) - body.len();
    let length = number((body.len() + padding + 12) as u32);
    [&number(kind)[..], &length, body, &vec![0; padding], &length].concat()
}

/// Link-layer frame of an IP packet over Ethernet.
pub fn ethernet(ip: &[u8]) -> Vec<u8> {
    let kind: u16 = if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    [&[2; 12][..], &kind.to_be_bytes(), ip].concat()
}

/// An IP packet between two addresses, with the given protocol and payload.
pub fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ipv4(&from.octets(), &to.octets(), protocol, payload, 0x4000, 0, (20 + payload.len()) as u16)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = (payload.len() as u16).to_be_bytes();
            [&[0x60, 0, 0, 0][..], &length, &[protocol, 64], &from.octets(), &to.octets(), payload].concat()
        }
        _ => panic!("families differ"),
    }
}

/// An IPv4 packet with the given fragment field, identification and total length.
pub fn ipv4(
    from: &[u8],
    to: &[u8],
    protocol: u8,
    payload: &[u8],
    fragment: u16,
    id: u16,
    total: u16,
) -> Vec<u8> {
    let head = [0x45, 0];
    [
        &head[..],
        &total.to_be_bytes(),
        &id.to_be_bytes(),
        &fragment.to_be_bytes(),
        &[64, protocol, 0, 0],
        from,
        to,
        payload,
    ]
    .concat()
}

/// A TCP segment with a wrong checksum.
pub fn tcp(from: u16, to: u16, sequence: u32, acknowledgment: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    [
        &from.to_be_bytes()[..],
        &to.to_be_bytes(),
        &sequence.to_be_bytes(),
        &acknowledgment.to_be_bytes(),
        &[0x50, flags, 0xff, 0xff, 0xbe, 0xef, 0, 0],
        data,
    ]
    .concat()
}

/// A UDP datagram.
pub fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], data].concat()
}

/// One TCP connection, as Ethernet frames.
#[derive(Clone, Copy)]
pub struct Talk {
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Initial sequence number of the client.
    pub initial: u32,
    /// Initial sequence number of the server.
    pub initial_server: u32,
}

impl Talk {
    /// A connection from the given port to port 443.
    pub fn from_port(port: u16) -> Self {
        Self {
            client: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
            server: "192.0.2.1:443".parse().unwrap(),
            initial: 1000,
            initial_server: 5000,
        }
    }

    /// The three segments that open it.
    pub fn open(&self) -> Vec<Vec<u8>> {
        vec![
            self.up_raw(self.initial, SYN, b""),
            self.down_raw(self.initial_server, self.initial.wrapping_add(1), SYN | ACK, b""),
            self.up(0, b""),
        ]
    }

    /// Data of the client at an offset of its stream.
    pub fn up(&self, offset: u32, data: &[u8]) -> Vec<u8> {
        self.up_raw(self.initial.wrapping_add(1).wrapping_add(offset), ACK, data)
    }

    /// Data of the server at an offset of its stream.
    pub fn down(&self, offset: u32, data: &[u8]) -> Vec<u8> {
        self.down_raw(
            self.initial_server.wrapping_add(1).wrapping_add(offset),
            self.initial.wrapping_add(1),
            ACK,
            data,
        )
    }

    /// A segment of the client.
    pub fn up_raw(&self, sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let acknowledgment = self.initial_server.wrapping_add(1);
        let segment = tcp(self.client.port(), self.server.port(), sequence, acknowledgment, flags, data);
        ethernet(&ip(self.client.ip(), self.server.ip(), 6, &segment))
    }

    /// A segment of the server.
    pub fn down_raw(&self, sequence: u32, acknowledgment: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let segment = tcp(self.server.port(), self.client.port(), sequence, acknowledgment, flags, data);
        ethernet(&ip(self.server.ip(), self.client.ip(), 6, &segment))
    }

    /// The whole: opened, `data` in pieces of `piece` bytes, closed by both sides.
    pub fn whole(&self, data: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut packets = self.open();
        for (number, part) in data.chunks(piece).enumerate() {
            packets.push(self.up((number * piece) as u32, part));
        }
        let end = self.initial.wrapping_add(1).wrapping_add(data.len() as u32);
        packets.push(self.up_raw(end, FIN | ACK, b""));
        packets.push(self.down_raw(self.initial_server.wrapping_add(1), end.wrapping_add(1), FIN | ACK, b""));
        packets
    }
}

/// A ClientHello handshake message for `name`, padded by an extension in front of the name.
pub fn hello_message(name: &str, padding: usize) -> Vec<u8> {
    let name = name.as_bytes();
    let length = |bytes: usize| (bytes as u16).to_be_bytes();
    let entry = [&[0][..], &length(name.len()), name].concat();
    let list = [&length(entry.len())[..], &entry].concat();
    let padding = [&[0, 21][..], &length(padding), &vec![0; padding]].concat();
    let extensions = [&padding[..], &[0, 0], &length(list.len()), &list].concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &length(extensions.len()), &extensions]
            .concat();
    let size = (body.len() as u32).to_be_bytes();
    [&[1][..], &size[1..], &body].concat()
}

/// A message in TLS records of at most `size` bytes.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat())
        .collect()
}

/// A ClientHello in one record.
pub fn hello(name: &str) -> Vec<u8> {
    records(&hello_message(name, 0), 16_384)
}

/// An HTTP/1.1 request.
pub fn request(name: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n").into_bytes()
}

//! Subscribers who ask for names: queries of any bytes over UDP, `dig` and `kdig` for the rest.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use super::Gateway;

/// Type A, AAAA and HTTPS.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const HTTPS: u16 = 65;

/// Where the DNS plane of a gateway listens, in the order of its configuration, those for TLS last.
pub fn plane(gateway: &Gateway) -> Vec<SocketAddr> {
    let log = gateway.log();
    let line = log.lines().rev().find(|line| line.contains("DNS plane serves")).expect("no DNS plane");
    let (_, rest) = line.split_once("addresses=[").unwrap();
    // An IPv6 address has brackets of its own.
    rest.rsplit_once(']').unwrap().0.split(", ").map(|text| text.parse().unwrap()).collect()
}

/// A query for one name and type with EDNS, a client subnet and an option nobody knows.
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    // OPT: 1,232 bytes, DO; client subnet 192.0.2.0/24; option 65001.
    let options = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2, 0xfd, 0xe9, 0, 3, 1, 2, 3];
    bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, u8::try_from(options.len()).unwrap()]);
    bytes.extend(options);
    bytes
}

/// The same without EDNS.
pub fn plain(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut query = query(id, name, kind);
    query.truncate(12 + name.len() + 2 + 4);
    query[11] = 0;
    query
}

/// Sends a query from an address and waits for the answer.
pub fn ask(from: Ipv4Addr, to: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send_to(query, to).unwrap();
    let mut answer = vec![0; 65_535];
    let (length, peer) = socket.recv_from(&mut answer).ok()?;
    assert_eq!(peer, to);
    answer.truncate(length);
    Some(answer)
}

/// Response code of an answer.
pub fn rcode(answer: &[u8]) -> u8 {
    answer[3] & 15
}

/// `dig` with these words, from a subscriber's address.
pub fn dig(from: Ipv4Addr, to: SocketAddr, words: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.args(["+time=5", "+tries=1", "-b", &from.to_string(), "-p", &to.port().to_string()]);
    command.arg(format!("@{}", to.ip())).args(words);
    text(&command.output().unwrap())
}

/// `kdig` with these words.
pub fn kdig(to: SocketAddr, words: &[&str]) -> String {
    let mut command = Command::new("kdig");
    command.args(["+timeout=5", "+retry=0", "-p", &to.port().to_string()]);
    command.arg(format!("@{}", to.ip())).args(words);
    text(&command.output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

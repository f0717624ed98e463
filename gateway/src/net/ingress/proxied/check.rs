//! Health checks of balancers: a connection whose PROXY header says that the balancer speaks for itself (LOCAL, UNKNOWN, or its
//! own connection to us; <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> §2).
//!
//! Nobody's traffic: it is not counted and goes nowhere. A request in HTTP is answered with 200; a TLS hello with an alert, which
//! HAProxy's `ssl-hello-chk` takes for life (RFC 8446 §6). Whatever else is said is heard to its end, within a time.

use std::io;

use crate::net::sys::socket;
use crate::net::tcp::relay::write_all;
use crate::net::tcp::stream::TcpStream;

/// How much is read of a check.
const CHECK_BYTES_MAX: usize = 4_096;
/// The content type of handshake records, and the bytes of a record's header (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
const RECORD_HEADER_BYTES: usize = 5;
/// Fatal alert `handshake_failure` in a TLS record (RFC 8446 §6): no name was asked for.
const ALERT_HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
/// RFC 9110 §15.3.1.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers a check of which `said` is read, and waits for its end; the caller's patience bounds it.
///
/// # Errors
/// What the system says of the connection.
pub(super) async fn answer(client: &TcpStream, mut said: Vec<u8>) -> io::Result<()> {
    let mut answered = false;
    loop {
        if let Some(reply) = reply(&said).filter(|_| !answered) {
            write_all(client, reply.to_vec(), |_| {}).await?;
            socket::shutdown_write(client)?;
            answered = true;
        }
        // What was not read when we close would end the connection with a reset, and with it what we said.
        client.readable().await?;
        let mut part = [0; 512];
        match client.try_read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(count) if said.len() < CHECK_BYTES_MAX => {
                said.extend_from_slice(part.get(..count).unwrap_or_default());
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is said to a check once it has said so much; none while it may go on, or is of no kind that is known.
fn reply(said: &[u8]) -> Option<&'static [u8]> {
    if said.first() == Some(&HANDSHAKE) {
        return (said.len() >= RECORD_HEADER_BYTES).then_some(ALERT_HANDSHAKE_FAILURE);
    }
    let line = said.split(|byte| *byte == b'\n').next()?;
    let is_request = line.strip_suffix(b"\r").unwrap_or(line).rsplit(|byte| *byte == b' ').next()?;
    let is_whole = said.windows(4).any(|end| end == b"\r\n\r\n") || said.windows(2).any(|end| end == b"\n\n");
    (is_request.starts_with(b"HTTP/1.") && is_whole).then_some(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f38_requests_and_hellos_are_answered_when_they_are_whole() {
        for request in [
            &b"OPTIONS / HTTP/1.0\r\n\r\n"[..],
            b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n",
            b"HEAD / HTTP/1.0\n\n",
        ] {
            assert_eq!(reply(request), Some(OK));
            assert!((0..request.len()).all(|length| reply(&request[..length]).is_none()));
        }
        assert_eq!(reply(&[22, 3, 0, 0, 121]), Some(ALERT_HANDSHAKE_FAILURE));
        for other in
            [&b""[..], &[22, 3, 0, 0], b"PING\r\n\r\n", b"QUIT\r\n", b"EHLO balancer\r\n", b"\r\n\r\n"]
        {
            assert_eq!(reply(other), None);
        }
    }
}

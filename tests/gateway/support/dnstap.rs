//! A resolver that tells by dnstap, written by hand: what a real one never says.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// A frame of the Frame Streams protocol: READY and START, naming dnstap.
fn control(kind: u32) -> Vec<u8> {
    const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";
    let fields = [&kind.to_be_bytes()[..], &1_u32.to_be_bytes(), &length_of(CONTENT).to_be_bytes(), CONTENT];
    let payload = fields.concat();
    [&[0; 4][..], &length_of(&payload).to_be_bytes(), &payload].concat()
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// Connects as a resolver that has something to tell; none when it is turned away.
pub fn tell(path: &Path) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&control(4)).ok()?;
    // ACCEPT is as long as READY.
    let mut accept = control(1);
    let wanted = accept.clone();
    stream.read_exact(&mut accept).ok()?;
    assert_eq!(accept, wanted);
    stream.write_all(&control(2)).unwrap();
    Some(stream)
}

/// A data frame: this client was given this answer.
pub fn given(client: Ipv4Addr, answer: &[u8]) -> Vec<u8> {
    // Fields of bytes have type 2: query_address is 4, response_message 14; Dnstap has message in 14, type in 15.
    let bytes = |field: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        let length = if length < 0x80 { vec![length] } else { vec![length, 1] };
        [vec![field << 3 | 2], length, value.to_vec()].concat()
    };
    const CLIENT_RESPONSE: [u8; 2] = [1 << 3, 6];
    let message = [&CLIENT_RESPONSE[..], &bytes(4, &client.octets()), &bytes(14, answer)].concat();
    let payload = [bytes(14, &message), vec![15 << 3, 1]].concat();
    [&length_of(&payload).to_be_bytes()[..], &payload].concat()
}

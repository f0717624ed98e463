//! Tests of `socket`.

use std::io::{Read, Write};
use std::time::Duration;

use super::*;

#[test]
fn unacknowledged_bytes_are_those_the_peer_has_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut reader, _) = listener.accept().unwrap();
    writer.set_nonblocking(true).unwrap();
    let mut written = 0_u64;
    loop {
        match writer.write(&[7; 65_536]) {
            Ok(taken) => written += taken as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let waiting = unacknowledged(&writer).unwrap();
    assert!(waiting > 0 && waiting <= written);
    let mut sink = vec![0; 1 << 20];
    let mut read = 0_u64;
    while read < written {
        read += reader.read(&mut sink).unwrap() as u64;
    }
    for _ in 0..1_000 {
        if unacknowledged(&writer).unwrap() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{} bytes never acknowledged", unacknowledged(&writer).unwrap());
}

//! Origin and subscribers: TLS hellos of a real client in front of plain bytes, so that only the proxy's work differs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes written and read at a time.
const BLOCK: usize = 256 * 1024;
/// Where the origin reads how much is wanted: behind the hello, eight bytes.
const WANTED_BYTES: usize = 8;
/// The wish that is not answered and leaves the connection open.
pub const STAY: u64 = u64::MAX;

/// The first flight of a TLS client that asks for `name`.
pub fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A server that reads a hello of this length and a wish, says one byte, and sends as many bytes as wished.
pub fn origin(hello_length: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || serve(stream, hello_length))
                .unwrap();
        }
    });
    address
}

/// One connection of the origin.
fn serve(mut stream: TcpStream, hello_length: usize) {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let mut first = vec![0; hello_length + WANTED_BYTES];
    if stream.read_exact(&mut first).is_err() || stream.write_all(b"+").is_err() {
        return;
    }
    let mut left = u64::from_be_bytes(first[hello_length..].try_into().unwrap());
    if left == STAY {
        let _ = stream.read(&mut [0]);
        return;
    }
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        if stream.write_all(&ZEROS[..part]).is_err() {
            return;
        }
        left -= part as u64;
    }
}

/// Opens a connection and waits for the origin's first byte; returns how long that took.
pub fn open(proxy: SocketAddr, hello: &[u8], wish: u64) -> (TcpStream, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&[hello, &wish.to_be_bytes()].concat()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    (stream, begun.elapsed())
}

/// How often a client who drips sends a byte.
const DRIP: Duration = Duration::from_secs(1);

/// Keeps `clients` connections on which a byte of the hello comes each second, until told to stop; one that is ended is
/// opened anew. Runs `beside` once all have begun.
pub fn drip<T>(proxy: SocketAddr, hello: &[u8], clients: usize, beside: impl FnOnce() -> T) -> T {
    let (begun, stop) = (AtomicBool::new(clients == 0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let open = || TcpStream::connect(proxy).unwrap();
            let mut dripping: Vec<_> = (0..clients).map(|_| (open(), 0)).collect();
            while !stop.load(Ordering::Relaxed) {
                let round = Instant::now();
                for (stream, place) in &mut dripping {
                    // The last byte never comes.
                    let byte = hello.get(*place..=*place).filter(|_| *place + 1 < hello.len());
                    if byte.is_none_or(|byte| stream.write_all(byte).is_err()) {
                        (*stream, *place) = (open(), 0);
                    } else {
                        *place += 1;
                    }
                }
                begun.store(true, Ordering::Relaxed);
                std::thread::sleep(DRIP.saturating_sub(round.elapsed()));
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let outcome = beside();
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Downloads `bytes` over each of `connections` at once.
pub fn bulk(proxy: SocketAddr, hello: &[u8], connections: usize, bytes: u64) {
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let (mut stream, _) = open(proxy, hello, bytes);
                let mut block = vec![0; BLOCK];
                let mut read = 0;
                while read < bytes {
                    let count = stream.read(&mut block).unwrap();
                    assert!(count > 0, "cut off after {read} of {bytes} bytes");
                    read += count as u64;
                }
            });
        }
    });
}

/// Makes `flows` short connections, so many at once; returns how long each took to its first byte, sorted.
pub fn short(proxy: SocketAddr, hello: &[u8], flows: usize, at_once: usize) -> Vec<Duration> {
    let left = AtomicUsize::new(flows);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        let (mut stream, time) = open(proxy, hello, 1_000);
                        let mut rest = Vec::new();
                        stream.read_to_end(&mut rest).unwrap();
                        assert_eq!(rest.len(), 1_000);
                        times.push(time);
                    }
                    times
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    times.sort();
    times
}

//! Servers that subscribers visit: plain TCP with scripted behaviour, and TLS with a page of any size.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::PATIENCE;

/// What an origin has received over one connection.
pub type Received = Arc<Mutex<Vec<u8>>>;

/// One connection as a script sees it: what it reads is kept for the test.
pub struct Visit {
    pub stream: TcpStream,
    pub received: Received,
}

impl Visit {
    /// Reads once, at most a buffer full; 0 at the client's FIN.
    pub fn read(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.received.lock().unwrap().extend(&buffer[..count]);
        count
    }

    /// Reads to the client's FIN or reset.
    pub fn read_to_end(&mut self) {
        while self.read() > 0 {}
    }
}

/// A server; its threads end with their connections.
pub struct Origin {
    pub address: SocketAddr,
    visits: Arc<Mutex<Vec<Received>>>,
    ended: Arc<AtomicBool>,
}

impl Origin {
    /// Runs `script` for every connection to `address` (port 0: any).
    pub fn at(address: SocketAddr, script: impl Fn(Visit) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let origin =
            Self { address: listener.local_addr().unwrap(), visits: Arc::default(), ended: Arc::default() };
        let (visits, ended, script) =
            (Arc::clone(&origin.visits), Arc::clone(&origin.ended), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let received = Received::default();
                visits.lock().unwrap().push(Arc::clone(&received));
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(Visit { stream, received }));
            }
        });
        origin
    }

    /// On 127.0.2.1 at a port of its own.
    pub fn new(script: impl Fn(Visit) + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 2, 1], 0)), script)
    }

    /// Sends back what comes, until FIN.
    pub fn echo() -> Self {
        Self::new(echo)
    }

    /// Swallows everything, answers `answer` at the client's FIN.
    pub fn answers(answer: &'static [u8]) -> Self {
        Self::new(move |mut visit| {
            visit.read_to_end();
            let _ = visit.stream.write_all(answer);
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address as octets.
    pub fn octets(&self) -> [u8; 4] {
        match self.address.ip() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
        }
    }

    /// How many connections came.
    pub fn visits(&self) -> usize {
        self.visits.lock().unwrap().len()
    }

    /// What the connection of this number sent up to here.
    pub fn received(&self, number: usize) -> Vec<u8> {
        let visits = self.visits.lock().unwrap();
        visits.get(number).map(|received| received.lock().unwrap().clone()).unwrap_or_default()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the accept loop so that it sees the flag.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
    }
}

/// Sends back what comes, until FIN.
pub fn echo(mut visit: Visit) {
    loop {
        let before = visit.received.lock().unwrap().len();
        if visit.read() == 0 {
            break;
        }
        let bytes = visit.received.lock().unwrap()[before..].to_vec();
        if visit.stream.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = visit.stream.shutdown(Shutdown::Write);
}

/// HTTP over what reads and writes: `GET /N` is answered with N bytes; keep-alive until the client says otherwise.
/// Returns whether it is the server that finishes.
pub fn pages(stream: &mut (impl Read + Write)) -> io::Result<bool> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return Ok(false);
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or("/");
        let size: usize = path.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n")?;
        let block = [b'x'; 65_536];
        let mut left = size;
        while left > 0 {
            let part = left.min(block.len());
            stream.write_all(&block[..part])?;
            left -= part;
        }
        stream.flush()?;
        if head.to_lowercase().contains("connection: close") {
            return Ok(true);
        }
    }
}

/// A plain HTTP server of [`pages`].
pub fn http(address: SocketAddr) -> Origin {
    Origin::at(address, |mut visit| {
        let _ = pages(&mut visit.stream);
        let _ = visit.stream.shutdown(Shutdown::Write);
        visit.read_to_end();
    })
}

/// A TLS server of [`pages`] with a throw-away certificate for any of these names.
pub fn https(address: SocketAddr, names: &[&str]) -> Origin {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    Origin::at(address, move |mut visit| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut visit.stream);
        if pages(&mut stream).is_ok_and(|finishes| finishes) {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = visit.stream.shutdown(Shutdown::Write);
        visit.read_to_end();
    })
}

//! Subscribers: connections from an address of their own, with or without a PROXY header, cut as told; and the commands
//! of other makes that serve as real clients.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::PATIENCE;

/// The address of subscriber `sN` at a steered listener.
pub fn subscriber(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

/// The address of subscriber `sN` in a PROXY header.
pub fn proxied_subscriber(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 7, 0, number], 40_000))
}

/// Connects from `source`.
pub fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    connect_from_port(source, 0, to)
}

/// Connects from `source` and this port (0: any).
pub fn connect_from_port(source: Ipv4Addr, port: u16, to: SocketAddr) -> TcpStream {
    try_connect(source, port, to).unwrap()
}

/// Connects from `source`; whoever is not wanted may be reset before he is through.
pub fn try_connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    try_connect(source, 0, to)
}

/// Connects from `source` and this port (0: any).
fn try_connect(source: Ipv4Addr, port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(port != 0)?;
    // Unbound, a port may be one that waits after a connection to elsewhere: many tests need many ports.
    if port != 0 || source != Ipv4Addr::LOCALHOST {
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, port)))?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream: TcpStream = socket.into();
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects to a `proxy_protocol` listener as subscriber `sN` whose destination is `destination`.
pub fn connect_proxied(number: u8, to: SocketAddr, destination: SocketAddr) -> TcpStream {
    let mut stream = connect_from(Ipv4Addr::LOCALHOST, to);
    stream.write_all(&proxy_v2(proxied_subscriber(number), destination)).unwrap();
    stream
}

/// PROXY header version 1 (the text one).
pub fn proxy_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = (source.ip(), destination.ip());
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// PROXY header version 2 (the binary one) for TCP over IPv4.
pub fn proxy_v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(source), SocketAddr::V4(destination)) = (source, destination) else {
        panic!("IPv4 only");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(source.ip().octets());
    header.extend(destination.ip().octets());
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

/// The next close sends RST.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Writes `bytes` one by one, each in a segment of its own.
pub fn write_bytewise(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
}

/// Ends the client's direction and reads what is left.
pub fn finish(mut stream: TcpStream) -> Vec<u8> {
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream).expect("the other side ends with FIN")
}

/// Reads to FIN.
pub fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads exactly so many bytes.
pub fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads one answer of [`super::origin::pages`] with a body of this size; returns the bytes of head and body.
pub fn read_page(stream: &mut TcpStream, body: usize) -> usize {
    let mut bytes = Vec::<u8>::new();
    let mut part = [0; 65_536];
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head
            && bytes.len() >= head + body
        {
            assert_eq!(bytes.len(), head + body, "more than the page");
            return bytes.len();
        }
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "ended after {} bytes", bytes.len());
        bytes.extend(&part[..count]);
    }
}

/// The body of `GET /size` over TLS with this server name; the certificate is not checked.
pub fn https_get(stream: TcpStream, name: &str, size: usize) -> io::Result<usize> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let server = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), server).unwrap();
    let mut stream = rustls::StreamOwned::new(session, stream);
    write!(stream, "GET /{size} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
    Ok(answer.len() - head - 4)
}

/// Takes every certificate: the origins' are made for one test.
#[derive(Debug)]
pub struct AnyCertificate(pub Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// curl as subscriber `sN`: `https://NAME/SIZE` (or http) led to `to`; its output is the body.
pub fn curl(number: u8, to: SocketAddr, url: &str, more: &[&str]) -> Output {
    let source = subscriber(number).to_string();
    let connect = format!("::{}:{}", to.ip(), to.port());
    Command::new("curl")
        .args(["-sS", "-k", "--max-time", "30", "--noproxy", "*", "--interface", &source])
        .args(["--connect-to", &connect])
        .args(more)
        .arg(url)
        .output()
        .unwrap()
}

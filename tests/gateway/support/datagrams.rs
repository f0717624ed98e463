//! What stands between a client of QUIC and the gateway: an access network that knows what it carried. It gives the client
//! the subscriber's address, or writes the PROXY header of a balancer, counts the payload of every datagram, and may give
//! the client another port, as a NAT does.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

/// How often the threads look whether they are to end.
const POLL: Duration = Duration::from_millis(50);
/// Room for bursts, as far as the system grants it.
const BUFFER: usize = 4 << 20;

/// In front of which datagrams a PROXY header stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Of none: the gateway is steered to.
    None,
    /// Of all.
    Each,
    /// Of the first that a socket sends.
    First,
}

/// A header of version 2 for UDP, of either IP version.
pub fn proxy_v2_udp(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x12, 0, 12]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.extend([0x22, 0, 36]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        _ => panic!("two IP versions"),
    }
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

/// A socket of the access network with room for bursts.
pub fn socket(address: impl Into<IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((address.into(), 0)).unwrap();
    socket.set_read_timeout(Some(POLL)).unwrap();
    let options = SockRef::from(&socket);
    options.set_recv_buffer_size(BUFFER).unwrap();
    options.set_send_buffer_size(BUFFER).unwrap();
    socket
}

/// The access network of one client.
pub struct Access {
    /// Where the client sends to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    front: UdpSocket,
    gateway: SocketAddr,
    header: Header,
    destination: SocketAddr,
    client: Mutex<Option<SocketAddr>>,
    /// The socket towards the gateway, and the source that a header names.
    back: Mutex<(Arc<UdpSocket>, SocketAddr)>,
    /// Whether that socket has sent.
    begun: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
    /// What the server sent with a long header, at most a few.
    long: Mutex<Vec<Vec<u8>>>,
    ended: AtomicBool,
}

impl Access {
    /// For a subscriber at `address` that DNS led to the gateway.
    pub fn steered(address: impl Into<IpAddr>, gateway: SocketAddr) -> Self {
        let back = socket(address);
        let source = back.local_addr().unwrap();
        Self::new(back, source, gateway, Header::None, gateway)
    }

    /// For a subscriber at `source` on the way to `destination`, behind a balancer.
    pub fn proxied(source: SocketAddr, destination: SocketAddr, gateway: SocketAddr, header: Header) -> Self {
        let back = socket(gateway.ip());
        Self::new(back, source, gateway, header, destination)
    }

    fn new(
        back: UdpSocket,
        source: SocketAddr,
        gateway: SocketAddr,
        header: Header,
        destination: SocketAddr,
    ) -> Self {
        let front = socket([127, 0, 0, 1]);
        let address = front.local_addr().unwrap();
        let back = Arc::new(back);
        let shared = Arc::new(Shared {
            front,
            gateway,
            header,
            destination,
            client: Mutex::default(),
            back: Mutex::new((Arc::clone(&back), source)),
            begun: AtomicBool::new(false),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            long: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || up.pass_up());
        std::thread::spawn(move || down.pass_down(&back));
        Self { address, shared }
    }

    /// The NAT gives the client another port; what still comes to the old one is lost.
    pub fn rebind(&self) {
        let mut back = self.shared.back.lock().unwrap();
        let fresh = Arc::new(socket(back.0.local_addr().unwrap().ip()));
        let source = match self.shared.header {
            Header::None => fresh.local_addr().unwrap(),
            Header::Each | Header::First => SocketAddr::new(back.1.ip(), back.1.port() + 1),
        };
        *back = (Arc::clone(&fresh), source);
        self.shared.begun.store(false, Ordering::SeqCst);
        drop(back);
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || shared.pass_down(&fresh));
    }

    /// Payload sent to the gateway and received from it.
    pub fn carried(&self) -> (u64, u64) {
        (self.shared.up.load(Ordering::SeqCst), self.shared.down.load(Ordering::SeqCst))
    }

    /// Sends a datagram of the test's own as the client's.
    pub fn inject(&self, datagram: &[u8]) {
        self.shared.send(datagram);
    }

    /// The connection id that the server chose (RFC 9000 §17.2), once it has.
    pub fn server_id(&self) -> Option<Vec<u8>> {
        let long = self.shared.long.lock().unwrap();
        long.iter().find_map(|datagram| {
            let client_id = usize::from(*datagram.get(5)?);
            let length = usize::from(*datagram.get(6 + client_id)?);
            let from = 7 + client_id;
            // A Retry's id (type 3) is another.
            (datagram[0] >> 4 & 3 != 3).then(|| datagram.get(from..from + length).map(<[u8]>::to_vec))?
        })
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn send(&self, datagram: &[u8]) {
        let back = self.back.lock().unwrap();
        let first = !self.begun.swap(true, Ordering::SeqCst);
        let whole = match self.header {
            Header::Each => [&proxy_v2_udp(back.1, self.destination), datagram].concat(),
            Header::First if first => [&proxy_v2_udp(back.1, self.destination), datagram].concat(),
            Header::First | Header::None => datagram.to_vec(),
        };
        back.0.send_to(&whole, self.gateway).unwrap();
        self.up.fetch_add(datagram.len() as u64, Ordering::SeqCst);
    }

    fn pass_up(&self) {
        let mut buffer = [0; 65_536];
        while !self.ended.load(Ordering::SeqCst) {
            let Ok((length, from)) = self.front.recv_from(&mut buffer) else { continue };
            *self.client.lock().unwrap() = Some(from);
            self.send(&buffer[..length]);
        }
    }

    fn pass_down(&self, back: &Arc<UdpSocket>) {
        let mut buffer = [0; 65_536];
        while !self.ended.load(Ordering::SeqCst) && Arc::ptr_eq(back, &self.back.lock().unwrap().0) {
            let Ok((length, from)) = back.recv_from(&mut buffer) else { continue };
            assert_eq!(from, self.gateway, "answered from elsewhere");
            let datagram = &buffer[..length];
            self.down.fetch_add(length as u64, Ordering::SeqCst);
            if datagram.first().is_some_and(|first| first & 0x80 != 0) {
                let mut long = self.long.lock().unwrap();
                if long.len() < 8 {
                    long.push(datagram.to_vec());
                }
            }
            let client = *self.client.lock().unwrap();
            if let Some(client) = client {
                let _ = self.front.send_to(datagram, client);
            }
        }
    }
}

//! Load: an origin, and subscribers who keep books of what they sent and read.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Bytes, Kind, Lab, PATIENCE, Random, Sums, micros_now};

/// Port of the origin, on an address of its own.
pub(super) const ORIGIN_PORT: u16 = 7081;

/// Answers `GET /{kind}/{bytes}` with so many bytes, and `GET /{kind}/{bytes}/{pause}` in pieces of 200 with pauses of so
/// many milliseconds between them.
pub(crate) struct Origin {
    /// Bytes it was about to write, by kind: what was carried down is never more.
    offered: [AtomicU64; 5],
    /// Slow answers go on without pauses.
    hurry: AtomicBool,
}

/// Length of one piece of a slow answer.
pub(crate) const PIECE: usize = 200;

impl Origin {
    pub(super) fn start(address: Ipv4Addr) -> io::Result<Arc<Origin>> {
        let listener = TcpListener::bind((address, ORIGIN_PORT))?;
        let origin = Arc::new(Origin { offered: Default::default(), hurry: AtomicBool::new(false) });
        let shared = Arc::clone(&origin);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let origin = Arc::clone(&shared);
                let thread = std::thread::Builder::new().stack_size(128 * 1024);
                let _ = thread.spawn(move || origin.serve(stream));
            }
        });
        Ok(origin)
    }

    /// Lets slow answers go on without pauses.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut head = Vec::new();
        let mut block = [0_u8; 2048];
        loop {
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                match stream.read(&mut block) {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => head.extend_from_slice(&block[..count]),
                }
                continue;
            };
            let text = String::from_utf8(head.drain(..end + 4).collect()).ok()?;
            let mut path = text.split(' ').nth(1)?.split('/').skip(1);
            let kind: usize = path.next()?.parse().ok()?;
            let length: usize = path.next()?.parse().ok()?;
            let pause: Option<u64> = path.next().and_then(|pause| pause.parse().ok());
            let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + length, b'x');
            let piece = if pause.is_some() { PIECE } else { answer.len() };
            for part in answer.chunks(piece) {
                self.offered[kind].fetch_add(part.len() as u64, Ordering::SeqCst);
                stream.write_all(part).ok()?;
                if !self.hurry.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(pause.unwrap_or(0)));
                }
            }
        }
    }
}

/// An answer that was read whole: all its bytes, and those of its request, passed the gateway by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) at: i64,
    pub(crate) bytes: Bytes,
}

/// What the subscribers know.
#[derive(Default)]
pub(crate) struct Books {
    /// Bytes about to be written, by kind: what was carried up is never more.
    sent: [AtomicU64; 5],
    /// Bytes read, by kind.
    read: [AtomicU64; 5],
    /// Whole exchanges, in the order of their ends.
    exchanges: Mutex<Vec<Exchange>>,
    /// Connections that ended otherwise than asked for.
    pub(crate) broken: AtomicU64,
    /// Exchanges that were whole.
    pub(crate) whole: AtomicU64,
}

impl Books {
    /// Bytes of this kind that the subscribers sent and read; exact when all of them have ended.
    pub(crate) fn carried(&self, kind: Kind) -> Bytes {
        let index = kind.index();
        Bytes { up: self.sent[index].load(Ordering::SeqCst), down: self.read[index].load(Ordering::SeqCst) }
    }

    /// Bytes of this kind of which no more can have been carried at this moment.
    pub(crate) fn at_most(&self, origin: &Origin, kind: Kind) -> Bytes {
        let index = kind.index();
        Bytes {
            up: self.sent[index].load(Ordering::SeqCst),
            down: origin.offered[index].load(Ordering::SeqCst),
        }
    }

    /// Bytes that passed the gateway from `from` to `to` for certain.
    pub(crate) fn between(&self, from: i64, to: i64) -> Bytes {
        let exchanges = self.exchanges.lock().unwrap();
        let inside = exchanges.iter().filter(|exchange| exchange.at > from && exchange.at <= to);
        inside.fold(Bytes::default(), |sum, exchange| sum.plus(exchange.bytes))
    }

    /// The books of a node that lost nothing.
    pub(crate) fn rows(&self) -> Sums {
        let rows = Kind::ALL.into_iter().map(|kind| (kind.row(), self.carried(kind)));
        rows.filter(|(_, bytes)| *bytes != Bytes::default()).collect()
    }
}

/// A subscriber's connection.
pub(crate) struct Visit<'a> {
    pub(crate) stream: TcpStream,
    books: &'a Books,
    kind: Kind,
    sent: Bytes,
}

impl<'a> Visit<'a> {
    /// Connects as the balancer would on behalf of the subscriber.
    pub(crate) fn open(lab: &Lab, books: &'a Books, kind: Kind) -> io::Result<Visit<'a>> {
        Visit::to(lab.listener, books, kind)
    }

    fn to(listener: SocketAddr, books: &'a Books, kind: Kind) -> io::Result<Visit<'a>> {
        let mut stream = TcpStream::connect_timeout(&listener, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let IpAddr::V4(own) = listener.ip() else { unreachable!("listeners are v4") };
        let [_, _, high, low] = own.octets();
        // The header is the balancer's, not the subscriber's: it is in nobody's books.
        write!(stream, "PROXY TCP4 {} 127.78.{high}.{low} 40000 80\r\n", kind.source())?;
        Ok(Visit { stream, books, kind, sent: Bytes::default() })
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.books.sent[self.kind.index()].fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.sent.up += bytes.len() as u64;
        self.stream.write_all(bytes)
    }

    /// The request for an answer of so many bytes.
    pub(crate) fn request(&self, length: u64, pause_ms: Option<u64>) -> String {
        let pause = pause_ms.map(|pause| format!("/{pause}")).unwrap_or_default();
        let (kind, host) = (self.kind.index(), self.kind.host());
        format!("GET /{kind}/{length}{pause} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    /// Reads what is there; 0 at the end.
    pub(crate) fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(block)?;
        self.books.read[self.kind.index()].fetch_add(count as u64, Ordering::SeqCst);
        self.sent.down += count as u64;
        Ok(count)
    }

    /// Reads an answer of so many bytes with its head.
    pub(crate) fn read_answer(&mut self, length: u64) -> io::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").len() as u64;
        let wanted = self.sent.down + head + length;
        let mut block = vec![0_u8; 64 * 1024];
        while self.sent.down < wanted {
            if self.read(&mut block)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// One whole exchange.
    pub(crate) fn exchange(&mut self, length: u64, hesitate: Duration) -> io::Result<()> {
        let before = self.sent;
        let request = self.request(length, None);
        let (first, second) = request.as_bytes().split_at(request.len() / 2);
        self.send(first)?;
        std::thread::sleep(hesitate);
        self.send(second)?;
        self.read_answer(length)?;
        let bytes = Bytes { up: self.sent.up - before.up, down: self.sent.down - before.down };
        self.books.exchanges.lock().unwrap().push(Exchange { at: micros_now(), bytes });
        self.books.whole.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sends FIN and reads to the end, so that everything that was acknowledged is in the books.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let finished = self.stream.shutdown(Shutdown::Write);
        let mut block = vec![0_u8; 64 * 1024];
        while self.read(&mut block)? > 0 {}
        finished
    }
}

/// Subscribers who browse until told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) books: Arc<Books>,
}

impl Load {
    /// One subscriber of each kind, some of whom hesitate in the middle of a request.
    pub(crate) fn start(lab: &Lab, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let books = Arc::new(Books::default());
        let threads = Kind::ALL
            .into_iter()
            .map(|kind| {
                let (stop, books, listener) = (Arc::clone(&stop), Arc::clone(&books), lab.listener);
                let random = Random(seed ^ (kind.index() as u64) << 32);
                std::thread::spawn(move || browse(listener, kind, &books, random, &stop))
            })
            .collect();
        Load { stop, threads, books }
    }

    /// Tells them to stop and waits until each has read to the end of his last connection.
    pub(crate) fn end(mut self) -> Arc<Books> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        Arc::clone(&self.books)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// One subscriber.
fn browse(listener: SocketAddr, kind: Kind, books: &Books, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut visit) = Visit::to(listener, books, kind) else {
            std::thread::sleep(Duration::from_millis(3));
            continue;
        };
        let mut outcome = Ok(());
        for _ in 0..random.range(1, 4) {
            let hesitate = Duration::from_millis(if random.range(0, 4) == 0 { 40 } else { 0 });
            let length = if random.range(0, 8) == 0 { 300_000 } else { random.range(0, 20_000) };
            outcome = visit.exchange(length, hesitate);
            if outcome.is_err() {
                break;
            }
        }
        let ended = visit.end();
        if outcome.and(ended).is_err() {
            books.broken.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(random.range(1, 12)));
    }
}

//! A resolver that answers from a table, counts what it is asked, and can fall silent.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A question is sent again under its id when no answer came within 333 ms (the resolver library); ids are 16 bits, so that
/// another question has the same one at times.
const SENT_AGAIN: std::ops::Range<Duration> = Duration::from_millis(300)..Duration::from_secs(10);

/// Time to live of every answer, in seconds, unless another is told.
const TTL: u32 = 300;

/// Picks a number below another.
type Below = Box<dyn FnMut(usize) -> usize + Send>;

/// The resolver; it ends with the value.
pub struct Resolver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    /// Questions for A records by name, however often each was sent.
    asked: Mutex<HashMap<String, usize>>,
    /// When each of them came first, by its name and id.
    came: Mutex<HashMap<(String, [u8; 2]), Instant>>,
    silent: AtomicBool,
    silent_on_aaaa: AtomicBool,
    broken: AtomicBool,
    ended: AtomicBool,
    /// Time to live of an answer, in seconds.
    ttl: AtomicU32,
    /// Time before each answer.
    delay: Mutex<Duration>,
    /// Addresses of one answer, and how many answers were given so: each begins where the one before ended.
    rotation: Mutex<(usize, usize)>,
    /// Picks the addresses of each answer instead, so many of them.
    picks: Mutex<Option<(usize, Below)>>,
}

impl Shared {
    /// Whether a question was not asked before; this resolver takes one after another, so that it may meet one that was sent
    /// again after it has answered the first.
    fn is_new(&self, name: &str, id: [u8; 2]) -> bool {
        let now = Instant::now();
        let mut came = self.came.lock().unwrap();
        let first = came.entry((name.to_owned(), id)).or_insert(now);
        if SENT_AGAIN.contains(&now.duration_since(*first)) {
            return false;
        }
        *first = now;
        true
    }
}

impl Resolver {
    /// With these A records.
    pub fn new(records: &[(&str, [u8; 4])]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            asked: Mutex::default(),
            came: Mutex::default(),
            silent: AtomicBool::new(false),
            silent_on_aaaa: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ttl: AtomicU32::new(TTL),
            delay: Mutex::default(),
            rotation: Mutex::new((usize::MAX, 0)),
            picks: Mutex::default(),
        });
        let resolver = Self { address, shared: Arc::clone(&shared) };
        for (name, address) in records {
            resolver.add(name, *address);
        }
        std::thread::spawn(move || serve(&socket, &shared));
        resolver
    }

    /// One more address of a name.
    pub fn add(&self, name: &str, address: [u8; 4]) {
        let mut table = self.shared.table.lock().unwrap();
        table.entry(name.to_owned()).or_default().push(Ipv4Addr::from(address));
    }

    /// How often the addresses of a name were asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.shared.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// All names that were asked for.
    pub fn names(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().keys().cloned().collect()
    }

    /// Answers nothing any more, or again.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Never answers for AAAA records from here on (RFC 4074 §3).
    pub fn ignore_aaaa(&self) {
        self.shared.silent_on_aaaa.store(true, Ordering::Relaxed);
    }

    /// Gives so many addresses in each answer, the next ones each time, beginning with number `first`.
    pub fn rotate(&self, per_answer: usize, first: usize) {
        *self.shared.rotation.lock().unwrap() = (per_answer, first);
    }

    /// Gives so many addresses in each answer, picked anew each time by `below`: a number below the one it is given.
    pub fn pick(&self, per_answer: usize, below: impl FnMut(usize) -> usize + Send + 'static) {
        *self.shared.picks.lock().unwrap() = Some((per_answer, Box::new(below)));
    }

    /// Answers everything with SERVFAIL, as for a name whose own servers do not answer.
    pub fn break_down(&self) {
        self.shared.broken.store(true, Ordering::Relaxed);
    }

    /// Answers hold for so many seconds from here on.
    pub fn answer_for(&self, ttl: u32) {
        self.shared.ttl.store(ttl, Ordering::Relaxed);
    }

    /// Waits so long before each answer.
    pub fn set_delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

/// Answers until the resolver is dropped.
fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(answer) = answer(&buffer[..length], shared) else { continue };
        if !shared.silent.load(Ordering::Relaxed) {
            std::thread::sleep(*shared.delay.lock().unwrap());
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to one question (RFC 1035 §4): its A records, else none; NXDOMAIN for a name not in the table.
fn answer(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let name = labels.join(".");
    let question = query.get(12..at + 5)?;
    let asks_a = query.get(at + 1..at + 3)? == [0, 1];
    if asks_a && shared.is_new(&name, query.get(..2)?.try_into().ok()?) {
        *shared.asked.lock().unwrap().entry(name.clone()).or_insert(0) += 1;
    }
    if !asks_a && shared.silent_on_aaaa.load(Ordering::Relaxed) {
        return None;
    }
    let table = shared.table.lock().unwrap();
    let known = table.get(&name);
    let all = known.filter(|_| asks_a).map_or(&[][..], |addresses| addresses);
    let addresses: Vec<&Ipv4Addr> = {
        let mut rotation = shared.rotation.lock().unwrap();
        let (per_answer, next) = *rotation;
        let count = per_answer.min(all.len());
        if !all.is_empty() {
            rotation.1 = (next + count) % all.len();
        }
        all.iter().cycle().skip(next).take(count).collect()
    };
    let addresses = match &mut *shared.picks.lock().unwrap() {
        Some((per_answer, below)) => {
            let mut left: Vec<&Ipv4Addr> = all.iter().collect();
            let count = left.len().min(*per_answer);
            (0..count).map(|_| left.swap_remove(below(left.len()))).collect()
        }
        None => addresses,
    };
    let mut reply = query.get(..2)?.to_vec();
    // Response, recursion desired and available; SERVFAIL is code 2, NXDOMAIN 3.
    if shared.broken.load(Ordering::Relaxed) {
        reply.extend([0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0]);
        reply.extend(question);
        return Some(reply);
    }
    reply.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }, 0, 1, 0]);
    reply.push(u8::try_from(addresses.len()).unwrap());
    reply.extend([0, 0, 0, 0]);
    reply.extend(question);
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1]);
        reply.extend(shared.ttl.load(Ordering::Relaxed).to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

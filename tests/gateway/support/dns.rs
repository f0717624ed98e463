//! A resolver that answers from a table, counts what it is asked, and can fall silent.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time to live of every answer, in seconds.
const TTL: u32 = 300;

/// The resolver; it ends with the value.
pub struct Resolver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    /// Questions for A records by name.
    asked: Mutex<HashMap<String, usize>>,
    silent: AtomicBool,
    silent_on_aaaa: AtomicBool,
    ended: AtomicBool,
    /// Time before each answer.
    delay: Mutex<Duration>,
    /// Addresses in one answer, and the state of the generator that picks them.
    rotation: Mutex<Option<(usize, u64)>>,
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
            silent: AtomicBool::new(false),
            silent_on_aaaa: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            delay: Mutex::default(),
            rotation: Mutex::default(),
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

    /// From here on an answer has so many of a name's addresses, picked anew each time.
    pub fn rotate(&self, per_answer: usize, seed: u64) {
        *self.shared.rotation.lock().unwrap() = Some((per_answer, seed));
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

/// The next number of a generator (xorshift64*): repeatable, and good enough to pick addresses.
pub fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap()
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
    if asks_a {
        *shared.asked.lock().unwrap().entry(name.clone()).or_insert(0) += 1;
    }
    if !asks_a && shared.silent_on_aaaa.load(Ordering::Relaxed) {
        return None;
    }
    let table = shared.table.lock().unwrap();
    let known = table.get(&name);
    let mut addresses = known.filter(|_| asks_a).cloned().unwrap_or_default();
    if let Some((per_answer, state)) = &mut *shared.rotation.lock().unwrap() {
        while addresses.len() > *per_answer {
            let place = random(state) % addresses.len();
            addresses.swap_remove(place);
        }
    }
    let mut reply = query.get(..2)?.to_vec();
    // Response, recursion desired and available; NXDOMAIN is code 3.
    reply.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }, 0, 1, 0]);
    reply.push(u8::try_from(addresses.len()).unwrap());
    reply.extend([0, 0, 0, 0]);
    reply.extend(question);
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1]);
        reply.extend(TTL.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

//! ClientHellos made to order, and the ways to cut them.

/// Extension numbers used by tests.
pub const SERVER_NAME: u16 = 0;
pub const KEY_SHARE: u16 = 51;
pub const PADDING: u16 = 21;
pub const ECH: u16 = 0xfe0d;
/// A share of X25519MLKEM768 (0x11ec) has 1,216 bytes.
pub const MLKEM_SHARE_BYTES: usize = 1216;

/// The parts of a hello; each can be made wrong.
#[derive(Clone)]
pub struct Hello {
    pub version: [u8; 2],
    pub session_id: Vec<u8>,
    pub suites: Vec<u8>,
    pub compression: Vec<u8>,
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Hello {
    /// Without any extension, but with room for them.
    pub fn bare() -> Self {
        Self {
            version: [3, 3],
            session_id: vec![7; 32],
            suites: vec![0x13, 1, 0x13, 2, 0xc0, 0x2f],
            compression: vec![0],
            extensions: Some(Vec::new()),
        }
    }

    /// With one host name and what a TLS 1.3 client needs.
    pub fn named(name: &str) -> Self {
        Self::bare().with(SERVER_NAME, server_name(name.as_bytes())).modern()
    }

    /// As a current browser: 1,216 bytes of key share in front of the name, GREASE ECH behind it.
    pub fn post_quantum(name: &str) -> Self {
        Self::bare()
            .modern()
            .with(KEY_SHARE, key_share())
            .with(SERVER_NAME, server_name(name.as_bytes()))
            .with(ECH, grease_ech(0x5a))
    }

    pub fn modern(self) -> Self {
        self.with(43, vec![4, 3, 4, 3, 3])
            .with(10, vec![0, 4, 0x11, 0xec, 0, 29])
            .with(13, vec![0, 4, 4, 3, 8, 4])
    }

    pub fn with(mut self, kind: u16, data: Vec<u8>) -> Self {
        self.extensions.get_or_insert_with(Vec::new).push((kind, data));
        self
    }

    /// The extension of this number replaced, wherever it is.
    pub fn replaced(mut self, kind: u16, data: Vec<u8>) -> Self {
        for extension in self.extensions.iter_mut().flatten().filter(|extension| extension.0 == kind) {
            extension.1 = data.clone();
        }
        self
    }

    /// Padded so that the whole handshake message has this many bytes.
    pub fn padded_to(self, message_bytes: usize) -> Self {
        let missing = message_bytes - self.message().len() - 4;
        self.with(PADDING, vec![0; missing])
    }

    /// Body behind type and length.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.version);
        body.extend([0xa5; 32]);
        body.push(u8::try_from(self.session_id.len()).unwrap());
        body.extend(&self.session_id);
        body.extend(block16(&self.suites));
        body.push(u8::try_from(self.compression.len()).unwrap());
        body.extend(&self.compression);
        if let Some(extensions) = &self.extensions {
            let mut block = Vec::new();
            for (kind, data) in extensions {
                block.extend(kind.to_be_bytes());
                block.extend(block16(data));
            }
            body.extend(block16(&block));
        }
        body
    }

    /// Handshake message: type, length, body.
    pub fn message(&self) -> Vec<u8> {
        message(1, &self.body())
    }

    /// One record, as most clients send it.
    pub fn wire(&self) -> Vec<u8> {
        records(&self.message(), 16384)
    }
}

/// A handshake message of any type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    message
}

/// Bytes behind their two-byte length.
pub fn block16(bytes: &[u8]) -> Vec<u8> {
    let mut block = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    block.extend(bytes);
    block
}

/// One entry of a ServerNameList.
pub fn entry(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut entry = vec![kind];
    entry.extend(block16(name));
    entry
}

/// server_name data of one host name.
pub fn server_name(name: &[u8]) -> Vec<u8> {
    block16(&entry(0, name))
}

/// server_name data of these entries.
pub fn server_names(entries: &[(u8, &[u8])]) -> Vec<u8> {
    block16(&entries.iter().flat_map(|(kind, name)| entry(*kind, name)).collect::<Vec<_>>())
}

/// A GREASE ECH extension with this config_id.
pub fn grease_ech(config_id: u8) -> Vec<u8> {
    let mut data = vec![0, 0, 1, 0, 1, config_id];
    data.extend(block16(&[9; 32]));
    data.extend(block16(&[8; 112]));
    data
}

/// key_share with X25519MLKEM768 and X25519.
pub fn key_share() -> Vec<u8> {
    let mut shares = vec![0x11, 0xec];
    shares.extend(block16(&[0x33; MLKEM_SHARE_BYTES]));
    shares.extend([0, 29]);
    shares.extend(block16(&[0x44; 32]));
    block16(&shares)
}

/// One record of this type.
pub fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 1];
    record.extend(block16(fragment));
    record
}

/// Handshake records of at most `size` bytes each.
pub fn records(handshake: &[u8], size: usize) -> Vec<u8> {
    handshake.chunks(size).flat_map(|fragment| record(22, fragment)).collect()
}

/// Handshake records cut at these places of the message.
pub fn records_cut_at(handshake: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), 0);
    for to in cuts.iter().copied().chain([handshake.len()]) {
        bytes.extend(record(22, &handshake[from..to]));
        from = to;
    }
    bytes
}

/// change_cipher_spec as middleboxes want it.
pub fn change_cipher_spec() -> Vec<u8> {
    record(20, &[1])
}

/// Hellos of real clients, in `tests/corpus/hello`: file name, bytes, and the name they ask for.
pub fn captured() -> Vec<(String, Vec<u8>, Option<&'static str>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus/hello");
    let mut hellos = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".hello") else { continue };
        let asked = if stem.ends_with("no-name") { None } else { Some("captured.example.edu") };
        hellos.push((name, std::fs::read(&path).unwrap(), asked));
    }
    hellos.sort();
    hellos
}

/// A small generator with a seed that is printed, for repeatable random inputs (xorshift64*).
pub struct Random(u64);

impl Random {
    /// Prints the seed: `WIRE_SEED` from the environment, else the given one.
    pub fn seeded(default: u64) -> Self {
        let seed = std::env::var("WIRE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        println!("seed: WIRE_SEED={seed}");
        Self(seed.max(1))
    }

    /// With a seed that was printed.
    pub fn of(seed: u64) -> Self {
        Self(seed.max(1))
    }

    #[expect(clippy::should_implement_trait, reason = "numbers without an end, and none is an option")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Some random changes of the bytes: flips, replacements, lengths ±1, cuts, repeats, insertions.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next().to_le_bytes()[3],
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes[at] = bytes[at].wrapping_sub(1),
                4 => bytes[at] = [0, 1, 0x16, 0xff, b'.', b'-', 0x7f, b'A'][self.below(8)],
                5 => bytes.truncate(at),
                6 => {
                    let end = (at + 1 + self.below(40)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes.insert(at, self.next().to_le_bytes()[5]),
            }
        }
    }
}

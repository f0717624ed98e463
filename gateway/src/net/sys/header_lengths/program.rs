//! The socket filter that sees the headers of what subscribers send (bpf(2), `BPF_PROG_TYPE_SOCKET_FILTER`), written out as
//! instructions: it is small, and no compiler is needed for it.
//!
//! It lets every segment pass. One with the usual options costs a load and a comparison; another is counted under its socket's
//! number, or before there is a socket under its sender, and leaves a stamp in the sender's cell.

/// Words of a TCP header with timestamps and nothing else (RFC 7323 appendix A): such segments leave no trace.
const USUAL_WORDS: i32 = 8;
/// Cells for stamps.
pub(super) const CELLS: u32 = 1 << 17;
/// The cell behind them that holds what is stamped: a number that the process raises as time passes.
pub(super) const EPOCH: u32 = CELLS;
/// The cell that counts entries made.
pub(super) const ENTRIES_MADE: u32 = CELLS + 1;
/// The cell that counts segments for which no entry could be made.
pub(super) const UNCOUNTED: u32 = CELLS + 2;
/// Cells in all.
pub(super) const CELLS_ALL: u32 = CELLS + 3;
/// The bit of a key that says sender; numbers of sockets never reach it.
pub(super) const SENDER_BIT: u64 = 1 << 63;

/// Loads of the packet: `r0 = packet[imm]`, in host order; `r6` is the context (`BPF_LD | BPF_ABS`).
const LOAD_BYTE_OF_PACKET: u8 = 0x30;
const LOAD_HALF_OF_PACKET: u8 = 0x28;
/// `dst = src`, `dst = imm`, and arithmetic in 64 bits.
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const SUBTRACT: u8 = 0x17;
const AND: u8 = 0x57;
const OR_WITH: u8 = 0x4f;
const XOR_WITH: u8 = 0xaf;
const MULTIPLY_BY: u8 = 0x2f;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
/// `dst = *(src + off)` of 4 and 8 bytes, `*(dst + off) = src`, `*(dst + off) = imm`.
const LOAD_WORD: u8 = 0x61;
const LOAD_LONG: u8 = 0x79;
const STORE_WORD: u8 = 0x63;
const STORE_LONG: u8 = 0x7b;
const STORE_WORD_SET: u8 = 0x62;
const STORE_LONG_SET: u8 = 0x7a;
/// `lock *(dst + off) += src` (`BPF_STX | BPF_ATOMIC | BPF_DW`, `BPF_ADD`).
const ATOMIC_ADD: u8 = 0xdb;
/// Jumps.
const JUMP: u8 = 0x05;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// A constant of 64 bits, in two instructions; with this source a map's descriptor.
const SET_LONG: u8 = 0x18;
const MAP_DESCRIPTOR: u8 = 1;

/// Helpers (`linux/bpf.h`).
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const SOCKET_COOKIE: i32 = 46;
const LOAD_BYTES_RELATIVE: i32 = 68;
/// `BPF_HDR_START_NET`.
const FROM_IP_HEADER: i32 = 1;
/// `BPF_NOEXIST`.
const ONLY_IF_NEW: i32 = 1;

/// Fields of the context (`struct __sk_buff`).
const PROTOCOL: i16 = 16;
const SEGMENTS: i16 = 164;
const SOCKET: i16 = 168;
/// `state` of `struct bpf_sock`, and its value for a listener.
const SOCKET_STATE: i16 = 72;
const LISTENING: i32 = 10;
/// `ETH_P_IP` in network order.
const IPV4: i32 = if cfg!(target_endian = "little") { 0x0008 } else { 0x0800 };
/// Offsets of the four bytes of the sender's address that cells go by: all of an IPv4 address, the last of an IPv6 one.
const IPV4_SOURCE: i32 = 12;
const IPV6_SOURCE_END: i32 = 20;
/// Offsets in a TCP header: sender's port, header length, flags; SYN's bit.
const PORT: i32 = 0;
const LENGTH: i32 = 12;
const FLAGS: i32 = 13;
const SYN: i32 = 2;

/// Places on the stack.
const NUMBER: i16 = -4;
const CELL: i16 = -8;
const KEY: i16 = -16;
const ENTRY: i16 = -32;
const ENTRY_BYTES: i16 = -24;

/// Where jumps lead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Seen,
    Ipv6,
    HaveKey,
    Found,
    HaveCount,
    Uncounted,
    Pass,
}

/// Instructions as they are put together.
#[derive(Default)]
struct Assembly {
    code: Vec<u64>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembly {
    /// Adds an instruction (`struct bpf_insn`).
    fn add(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) {
        let [low, high] = offset.to_ne_bytes();
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        let [a, b, c, d] = value.to_ne_bytes();
        self.code.push(u64::from_ne_bytes([code, registers, low, high, a, b, c, d]));
    }

    /// Adds a jump to `label`, which comes later.
    fn jump(&mut self, code: u8, register: u8, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.add(code, register, 0, 0, value);
    }

    /// What follows is at `label`.
    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    /// Adds a constant of 64 bits.
    fn set_long(&mut self, to: u8, from: u8, value: u64) {
        // Both halves as they are.
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.add(SET_LONG, to, from, 0, i32::from_le_bytes([a, b, c, d]));
        self.add(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h]));
    }

    /// `r0` = where the map's value for the key at `key` on the stack is.
    fn look_up(&mut self, map: i32, key: i16) {
        self.set_long(1, MAP_DESCRIPTOR, u64::from(map.unsigned_abs()));
        self.add(MOVE, 2, 10, 0, 0);
        self.add(ADD, 2, 0, 0, i32::from(key));
        self.add(CALL, 0, 0, 0, MAP_LOOKUP);
    }

    /// Adds one to a cell.
    fn raise(&mut self, cells: i32, cell: u32) {
        self.add(STORE_WORD_SET, 10, 0, NUMBER, i32::try_from(cell).unwrap_or(0));
        self.look_up(cells, NUMBER);
        self.jump(JUMP_EQUAL, 0, 0, Label::Pass);
        self.add(SET, 1, 0, 0, 1);
        self.add(ATOMIC_ADD, 0, 1, 0, 0);
    }

    /// The instructions with their jumps.
    fn finish(mut self) -> Vec<u64> {
        for (at, label) in &self.jumps {
            let to = self.labels.iter().find(|(known, _)| known == label).map(|(_, to)| *to);
            let distance = to.and_then(|to| to.checked_sub(*at)?.checked_sub(1));
            let distance = distance.and_then(|distance| i16::try_from(distance).ok()).unwrap_or(0);
            if let Some(instruction) = self.code.get_mut(*at) {
                let mut bytes = instruction.to_ne_bytes();
                let [_, _, low, high, ..] = &mut bytes;
                [*low, *high] = distance.to_ne_bytes();
                *instruction = u64::from_ne_bytes(bytes);
            }
        }
        self.code
    }
}

/// The program over the map of cells and the map of entries, by their descriptors.
pub(super) fn program(cells: i32, entries: i32) -> Vec<u64> {
    let mut code = Assembly::default();
    judge(&mut code);
    stamp(&mut code, cells);
    count(&mut code, cells, entries);
    code.label(Label::Pass);
    code.add(SET, 0, 0, 0, -1);
    code.add(EXIT, 0, 0, 0, 0);
    code.finish()
}

/// Passes what is usual, and the segments that open connections: those are counted by what was agreed on. Leaves the length
/// of the options in `r7`, and in `r8` whether a listener is asked.
fn judge(code: &mut Assembly) {
    code.add(MOVE, 6, 1, 0, 0);
    code.add(LOAD_BYTE_OF_PACKET, 0, 0, 0, LENGTH);
    code.add(MOVE, 7, 0, 0, 0);
    code.add(SHIFT_RIGHT, 7, 0, 0, 4);
    code.jump(JUMP_EQUAL, 7, USUAL_WORDS, Label::Pass);
    code.add(SHIFT_LEFT, 7, 0, 0, 2);
    code.add(SUBTRACT, 7, 0, 0, 20);
    code.add(SET, 8, 0, 0, 0);
    code.add(LOAD_LONG, 1, 6, SOCKET, 0);
    code.jump(JUMP_EQUAL, 1, 0, Label::Pass);
    code.add(LOAD_WORD, 2, 1, SOCKET_STATE, 0);
    code.jump(JUMP_NOT_EQUAL, 2, LISTENING, Label::Seen);
    code.add(LOAD_BYTE_OF_PACKET, 0, 0, 0, FLAGS);
    code.add(AND, 0, 0, 0, SYN);
    code.jump(JUMP_NOT_EQUAL, 0, 0, Label::Pass);
    code.add(SET, 8, 0, 0, 1);
    code.label(Label::Seen);
}

/// Stamps the sender's cell; leaves his key on the stack.
fn stamp(code: &mut Assembly, cells: i32) {
    code.add(LOAD_HALF_OF_PACKET, 0, 0, 0, PORT);
    code.add(MOVE, 9, 0, 0, 0);
    code.add(LOAD_WORD, 3, 6, PROTOCOL, 0);
    code.add(SET, 2, 0, 0, IPV6_SOURCE_END);
    code.jump(JUMP_NOT_EQUAL, 3, IPV4, Label::Ipv6);
    code.add(SET, 2, 0, 0, IPV4_SOURCE);
    code.label(Label::Ipv6);
    code.add(MOVE, 1, 6, 0, 0);
    code.add(MOVE, 3, 10, 0, 0);
    code.add(ADD, 3, 0, 0, i32::from(NUMBER));
    code.add(SET, 4, 0, 0, 4);
    code.add(SET, 5, 0, 0, FROM_IP_HEADER);
    code.add(CALL, 0, 0, 0, LOAD_BYTES_RELATIVE);
    code.jump(JUMP_NOT_EQUAL, 0, 0, Label::Uncounted);
    // As `Sender` has it.
    code.add(LOAD_WORD, 1, 10, NUMBER, 0);
    code.add(MOVE, 2, 1, 0, 0);
    code.add(SHIFT_LEFT, 2, 0, 0, 16);
    code.add(OR_WITH, 2, 9, 0, 0);
    code.set_long(3, 0, SENDER_BIT);
    code.add(OR_WITH, 2, 3, 0, 0);
    code.add(STORE_LONG, 10, 2, KEY, 0);
    code.add(MOVE, 3, 1, 0, 0);
    code.add(SHIFT_RIGHT, 3, 0, 0, 15);
    code.add(XOR_WITH, 3, 1, 0, 0);
    code.add(XOR_WITH, 3, 9, 0, 0);
    code.add(AND, 3, 0, 0, i32::try_from(CELLS - 1).unwrap_or(0));
    code.add(STORE_WORD, 10, 3, CELL, 0);
    code.add(STORE_WORD_SET, 10, 0, NUMBER, i32::try_from(EPOCH).unwrap_or(0));
    code.look_up(cells, NUMBER);
    code.jump(JUMP_EQUAL, 0, 0, Label::Pass);
    code.add(LOAD_LONG, 9, 0, 0, 0);
    code.look_up(cells, CELL);
    code.jump(JUMP_EQUAL, 0, 0, Label::Pass);
    code.add(STORE_LONG, 0, 9, 0, 0);
}

/// Counts the segments and their options in the entry of the socket, or of the sender.
fn count(code: &mut Assembly, cells: i32, entries: i32) {
    code.jump(JUMP_NOT_EQUAL, 8, 0, Label::HaveKey);
    code.add(MOVE, 1, 6, 0, 0);
    code.add(CALL, 0, 0, 0, SOCKET_COOKIE);
    code.add(STORE_LONG, 10, 0, KEY, 0);
    code.label(Label::HaveKey);
    code.look_up(entries, KEY);
    code.jump(JUMP_NOT_EQUAL, 0, 0, Label::Found);
    code.raise(cells, ENTRIES_MADE);
    code.add(STORE_LONG_SET, 10, 0, ENTRY, 0);
    code.add(STORE_LONG_SET, 10, 0, ENTRY_BYTES, 0);
    code.set_long(1, MAP_DESCRIPTOR, u64::from(entries.unsigned_abs()));
    code.add(MOVE, 2, 10, 0, 0);
    code.add(ADD, 2, 0, 0, i32::from(KEY));
    code.add(MOVE, 3, 10, 0, 0);
    code.add(ADD, 3, 0, 0, i32::from(ENTRY));
    code.add(SET, 4, 0, 0, ONLY_IF_NEW);
    code.add(CALL, 0, 0, 0, MAP_UPDATE);
    code.look_up(entries, KEY);
    code.jump(JUMP_EQUAL, 0, 0, Label::Uncounted);
    code.label(Label::Found);
    // A packet that the system put together is as many segments, all with the same options.
    code.add(LOAD_WORD, 1, 6, SEGMENTS, 0);
    code.jump(JUMP_NOT_EQUAL, 1, 0, Label::HaveCount);
    code.add(SET, 1, 0, 0, 1);
    code.label(Label::HaveCount);
    code.add(MOVE, 2, 1, 0, 0);
    code.add(MULTIPLY_BY, 2, 7, 0, 0);
    code.add(ATOMIC_ADD, 0, 1, 0, 0);
    code.add(ATOMIC_ADD, 0, 2, 8, 0);
    code.jump(JUMP, 0, 0, Label::Pass);
    code.label(Label::Uncounted);
    code.raise(cells, UNCOUNTED);
}

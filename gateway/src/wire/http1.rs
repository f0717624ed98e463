//! The head of a connection's first HTTP/1 request: which host it asks for.
//!
//! `httparse` reads the head; this module collects its bytes, says early when they can be no HTTP, and judges Host and
//! request target together. Only the first request names the connection: nothing behind its head is read.
//!
//! Sections: RFC 9112 §2.2 (line ends), §3 (request line), §3.2 (Host, absolute-form), RFC 3986 §3.2 (authority).
//!
//! Rules. The name is that of Host, or of an absolute-form target if Host is missing or says the same. Two Hosts, a Host
//! other than the target's, user information, a port that is none, and line ends of both kinds in one head are ambiguous:
//! two servers could read them differently. No Host, an empty one, or an address literal is no name. CONNECT, HTTP/2 and
//! whatever has a first line other than that of HTTP/1.0 or 1.1 is not HTTP here: no name can be had from it.
//!
//! The work is linear in the bytes given: a head in pieces is parsed once when it is complete, and looked through for
//! faults only each time its length has doubled.

mod host;

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

/// The longest request method taken for one; the longest of the IANA registry has 16 characters.
const METHOD_BYTES_MAX: usize = 32;
/// The first allocation for a head in pieces.
const BUFFER_BYTES_FIRST: usize = 512;
/// An unfinished head is looked through for faults at this length, and each time it has doubled.
const CHECK_BYTES_FIRST: usize = 1024;
/// Header lines that most requests keep within; only for more is room for all made, and the head read again.
const HEADERS_FEW: usize = 32;
/// Methods that no other protocol of this line shape uses (OPTIONS is in SIP and RTSP too).
const HTTP_METHODS: [&[u8]; 6] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH"];

/// How much of a request head is read (`[limits]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the head, the empty lines before it and the one that ends it included.
    pub head_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
}

/// What a complete head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The host asked for, as its raw bytes without port (never empty); `None` without one or for an address literal.
    pub name: Option<&'a [u8]>,
}

/// What the bytes so far come to. All but `NeedMore` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The head is incomplete and may become valid.
    NeedMore,
    /// A complete head.
    Request(Facts<'a>),
    /// An HTTP/1 request line, but no well-formed head.
    Malformed {
        /// The part that breaks the format.
        field: &'static str,
    },
    /// Two readers could take different hosts from it.
    Ambiguous,
    /// More bytes or header lines than the limits.
    Oversize,
    /// Not an HTTP/1 request that names a host: another protocol, HTTP/2, or CONNECT.
    NotHttp,
}

/// Collects the first request head of a connection and reads it. No `Debug`: it may hold a name.
pub struct HeadReader {
    /// The caps.
    limits: HeadLimits,
    /// The bytes so far, if they came in pieces.
    buffer: Vec<u8>,
    /// The line ends found so far.
    scan: Scan,
    /// An unfinished head is looked through for faults at this length.
    check_at: usize,
    /// The first bytes are a method that only HTTP has, or a whole HTTP/1 request line.
    looks_like_http: bool,
    /// Bytes looked at in all, each pass counted.
    examined: u64,
}

/// Where the lines of a head end; fed once with each byte.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    /// Bytes fed.
    seen: usize,
    /// Where the request line begins, behind the empty lines before it.
    start: usize,
    /// Bytes of the line not yet ended, a CR at its end included.
    line_bytes: usize,
    /// The last byte was a CR.
    carriage: bool,
    /// Where the request line ends, its LF included.
    request_line_end: Option<usize>,
    /// A line of the head ended in CR LF.
    crlf: bool,
    /// A line of the head ended in LF alone.
    bare_lf: bool,
}

impl Scan {
    /// Feeds the next bytes up to the end of the head; `Some` is where, counted from the first byte of all.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let Some((line, after)) = rest.split_at_checked(at.saturating_add(1)) else { break };
            let carriage = match line {
                [_] => self.carriage,
                [.., before, _] => *before == b'\r',
                [] => false,
            };
            let empty = self.line_bytes.saturating_add(at) == usize::from(carriage);
            self.seen = self.seen.saturating_add(line.len());
            (self.line_bytes, self.carriage) = (0, false);
            rest = after;
            if empty && self.request_line_end.is_none() {
                self.start = self.seen;
                continue;
            }
            self.request_line_end = self.request_line_end.or(Some(self.seen));
            self.crlf |= carriage;
            self.bare_lf |= !carriage;
            if empty {
                return Some(self.seen);
            }
        }
        self.seen = self.seen.saturating_add(rest.len());
        self.line_bytes = self.line_bytes.saturating_add(rest.len());
        if let Some(last) = rest.last() {
            self.carriage = *last == b'\r';
        }
        None
    }
}

impl HeadReader {
    /// Starts before the first byte of a connection.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            scan: Scan::default(),
            check_at: CHECK_BYTES_FIRST,
            looks_like_http: false,
            examined: 0,
        }
    }

    /// Takes the next bytes of the client, in order; what stands behind the head is not looked at. After an outcome
    /// other than `NeedMore` the reader is done with and is to be dropped.
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Outcome<'a> {
        let allowed = self.limits.head_bytes_max.saturating_sub(self.scan.seen);
        let within = bytes.get(..allowed).unwrap_or(bytes);
        let had_request_line = self.scan.request_line_end.is_some();
        let before = self.scan.seen;
        let end = self.scan.feed(within);
        self.examined = self.examined.saturating_add(count(within.len()));

        let taken = end.map_or(within.len(), |end| end.saturating_sub(before));
        let piece = within.get(..taken).unwrap_or(within);
        let seen: &[u8] = if before == 0 && end.is_some() {
            piece
        } else {
            append(&mut self.buffer, piece, self.limits.head_bytes_max);
            &self.buffer
        };
        let head = seen.get(self.scan.start..).unwrap_or_default();
        if !had_request_line {
            self.looks_like_http |= begins_as_http(head);
            let line = self.scan.request_line_end.map(|end| end.saturating_sub(self.scan.start));
            match judge_first_line(head, line) {
                FirstLine::Unknown => {}
                FirstLine::Http => self.looks_like_http = true,
                FirstLine::NotHttp => return Outcome::NotHttp,
            }
        }
        if end.is_some() {
            self.examined = self.examined.saturating_add(count(head.len()));
            let both_line_ends = self.scan.crlf && self.scan.bare_lf;
            return match read_head(head, self.limits.headers_max) {
                Outcome::Request(_) if both_line_ends => Outcome::Ambiguous,
                Outcome::NeedMore => Outcome::Malformed { field: "request head" },
                outcome => outcome,
            };
        }
        let over = bytes.len() > within.len();
        if !over && self.scan.seen < self.check_at {
            return Outcome::NeedMore;
        }
        self.check_at = self.scan.seen.saturating_mul(2);
        self.examined = self.examined.saturating_add(count(head.len()));
        // A fault comes first, whatever follows it, so that the cutting makes no difference.
        match cut_off(head, self.scan.request_line_end, self.limits.headers_max) {
            Outcome::NeedMore if over => Outcome::Oversize,
            outcome => outcome,
        }
    }

    /// What an unfinished head comes to when nothing follows: `NeedMore` if it could have become valid.
    pub fn cut_short(&self) -> Outcome<'_> {
        let head = self.buffer.get(self.scan.start..).unwrap_or_default();
        cut_off(head, self.scan.request_line_end, self.limits.headers_max)
    }

    /// Whether the bytes so far begin like an HTTP request and nothing else, even one that names no host here.
    pub fn looks_like_http(&self) -> bool {
        self.looks_like_http
    }

    /// Bytes looked at in all, each pass over them counted (one that is repeated for more header lines once): at most
    /// four times the bytes given.
    pub fn examined_bytes(&self) -> u64 {
        self.examined
    }

    /// Memory held for a head in pieces, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// A length as a count of work.
fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Adds `piece` to `buffer`, which grows by doubling and never past `bytes_max` for the bytes it is meant for.
fn append(buffer: &mut Vec<u8>, piece: &[u8], bytes_max: usize) {
    let need = buffer.len().saturating_add(piece.len());
    if need > buffer.capacity() {
        let target = need.max(buffer.capacity().saturating_mul(2)).max(BUFFER_BYTES_FIRST);
        buffer.reserve_exact(target.min(bytes_max).max(need).saturating_sub(buffer.len()));
    }
    buffer.extend_from_slice(piece);
}

/// What a first line, or the beginning of one, can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstLine {
    /// Too little of it is there.
    Unknown,
    /// A request line of HTTP/1.
    Http,
    /// No request line of HTTP/1 that names a host.
    NotHttp,
}

/// Judges the first line at the front of `head`; `end` is where it ends, its LF included, once it does.
///
/// Before the end only a character that no request line has decides; at the end the version does, so that other
/// protocols of words and spaces (SMTP, IMAP, POP3, SSH, SIP, RTSP, a PROXY header) are known by their first line.
fn judge_first_line(head: &[u8], end: Option<usize>) -> FirstLine {
    let method_end = head.iter().take(METHOD_BYTES_MAX.saturating_add(1)).position(|byte| !is_token(*byte));
    let method = head.get(..method_end.unwrap_or(head.len())).unwrap_or_default();
    match method_end.and_then(|at| head.get(at)) {
        // An empty line may stand before the request (RFC 9112 §2.2), and its LF may be on its way.
        Some(b'\r') if head.len() == 1 => return FirstLine::Unknown,
        Some(b' ') if !method.is_empty() => {}
        None if method.len() <= METHOD_BYTES_MAX => return FirstLine::Unknown,
        Some(_) | None => return FirstLine::NotHttp,
    }
    let line = end.and_then(|end| head.get(..end)).and_then(|line| line.strip_suffix(b"\n"));
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\r') || *byte == 0x7f;
    if !HTTP_METHODS.contains(&method) && line.unwrap_or(head).iter().any(control) {
        return FirstLine::NotHttp;
    }
    let Some(line) = line else { return FirstLine::Unknown };
    let version = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if !matches!(version, b"HTTP/1.0" | b"HTTP/1.1") || method == b"CONNECT" {
        return FirstLine::NotHttp;
    }
    FirstLine::Http
}

/// Whether `head` begins with a method that only HTTP has, and the space behind it.
fn begins_as_http(head: &[u8]) -> bool {
    HTTP_METHODS
        .iter()
        .any(|method| head.strip_prefix(*method).is_some_and(|rest| rest.first() == Some(&b' ')))
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What an unfinished head comes to; without its whole request line it may be anything.
fn cut_off(head: &[u8], request_line_end: Option<usize>, headers_max: usize) -> Outcome<'_> {
    match request_line_end {
        None => Outcome::NeedMore,
        Some(_) => read_head(head, headers_max),
    }
}

/// Reads a request head, complete or not, and the host it names.
fn read_head(head: &[u8], headers_max: usize) -> Outcome<'_> {
    let few = HEADERS_FEW.min(headers_max);
    let outcome = [EMPTY_HEADER; HEADERS_FEW].get_mut(..few).map(|headers| read_head_into(head, headers));
    match outcome {
        Some(Outcome::Oversize) | None if headers_max > few => {
            read_head_into(head, &mut vec![EMPTY_HEADER; headers_max])
        }
        Some(outcome) => outcome,
        None => Outcome::Oversize,
    }
}

/// Reads a request head with room for as many headers as `headers` has.
fn read_head_into<'a>(head: &'a [u8], headers: &mut [Header<'a>]) -> Outcome<'a> {
    let mut request = Request::new(headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => host::of_request(request.path.unwrap_or_default(), request.headers),
        Ok(Status::Partial) => Outcome::NeedMore,
        Err(Error::TooManyHeaders) => Outcome::Oversize,
        Err(Error::Version) => Outcome::NotHttp,
        Err(Error::HeaderName) => Outcome::Malformed { field: "header name" },
        Err(Error::HeaderValue) => Outcome::Malformed { field: "header value" },
        Err(Error::NewLine) => Outcome::Malformed { field: "line end" },
        Err(Error::Token) => Outcome::Malformed { field: "request line" },
        Err(Error::Status) => Outcome::Malformed { field: "request head" },
    }
}

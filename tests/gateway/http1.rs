//! Request heads: which host is read, what is no name, what is ambiguous, what is no HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/http_head.rs"]
mod target;

use gateway::wire::http1::{Facts, HeadLimits, HeadReader, Outcome};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16 * 1024, headers_max: 100 };

const AMBIGUOUS: Outcome<'_> = Outcome::Ambiguous;
const NO_NAME: Outcome<'_> = Outcome::Request(Facts { name: None });
const NOT_HTTP: Outcome<'_> = Outcome::NotHttp;

fn name(name: &str) -> Outcome<'_> {
    Outcome::Request(Facts { name: Some(name.as_bytes()) })
}

fn malformed(field: &'static str) -> Outcome<'static> {
    Outcome::Malformed { field }
}

/// What the bytes come to in one piece and in many, which must be the same.
fn assert_read(bytes: &[u8], outcome: Outcome<'_>) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    for size in [usize::MAX, 1, 2, 3, 7, 536] {
        let mut reader = HeadReader::new(LIMITS);
        let mut pieces = bytes.chunks(size.min(bytes.len())).peekable();
        loop {
            let piece = pieces.next().unwrap();
            let last = pieces.peek().is_none();
            match reader.push(piece) {
                Outcome::NeedMore if !last => {}
                Outcome::NeedMore => {
                    assert_eq!(outcome, Outcome::NeedMore, "pieces of {size}: {text:?}");
                    break;
                }
                read => {
                    assert_eq!(read, outcome, "pieces of {size}: {text:?}");
                    break;
                }
            }
        }
        assert!(reader.buffer_bytes() <= LIMITS.head_bytes_max);
        assert!(reader.examined_bytes() <= 4 * u64::try_from(bytes.len()).unwrap(), "linear work");
    }
}

/// A GET of `target` with these header lines.
fn get(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

#[test]
fn h1_the_rows_of_the_note() {
    let host = |value: &str| get("/", &format!("Host: {value}\r\n"));
    let rows: Vec<(Vec<u8>, Outcome<'_>)> = vec![
        (host("listed.edu"), name("listed.edu")),
        (get("/", "Host: listed.edu\r\nhost: other.com\r\n"), AMBIGUOUS),
        (get("/", "Host: listed.edu\r\nHOST: listed.edu\r\n"), AMBIGUOUS),
        (get("http://other.com/", "Host: listed.edu\r\n"), AMBIGUOUS),
        (get("http://listed.edu/", "Host: listed.edu\r\n"), name("listed.edu")),
        (get("http://listed.edu/", ""), name("listed.edu")),
        (get("/", "Host : listed.edu\r\n"), malformed("header name")),
        (get("/", "Host: listed.edu\r\n .other.com\r\n"), malformed("header name")),
        (get("/", "X: y\r\n\tHost: listed.edu\r\n"), malformed("header name")),
        (b"CONNECT listed.edu:443 HTTP/1.1\r\nHost: listed.edu:443\r\n\r\n".to_vec(), NOT_HTTP),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), NOT_HTTP),
        (host("user@listed.edu"), AMBIGUOUS),
        (host("listed.edu:80@other.com"), AMBIGUOUS),
        (get("http://user@listed.edu/", ""), AMBIGUOUS),
        (host("[2001:db8::1]"), NO_NAME),
        (host("[2001:db8::1]:8080"), NO_NAME),
        (host("192.0.2.1"), NO_NAME),
        (host("192.0.2.1:80"), NO_NAME),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), NO_NAME),
        (b"GET / HTTP/1.0\r\nHost: listed.edu\r\n\r\n".to_vec(), name("listed.edu")),
        (get("/", ""), NO_NAME),
        (get("/", "Host:\r\n"), NO_NAME),
        (b"GET / HTTP/1.1\r\nHost: listed.edu\r\n".to_vec(), Outcome::NeedMore),
        (b"GET / HTTP/1.1\nHost: listed.edu\n\n".to_vec(), name("listed.edu")),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: listed.edu\r\n\r\n".to_vec(), name("listed.edu")),
        (b"\nGET / HTTP/1.1\r\nHost: listed.edu\r\n\r\n".to_vec(), name("listed.edu")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), NOT_HTTP),
    ];
    for (bytes, outcome) in rows {
        assert_read(&bytes, outcome);
    }
}

#[test]
fn h1_ports_dots_and_white_space_of_host() {
    let host = |value: &str| get("/", &format!("Host:{value}\r\n"));
    for (value, outcome) in [
        ("listed.edu", name("listed.edu")),
        (" \t listed.edu \t ", name("listed.edu")),
        (" LISTED.edu", name("LISTED.edu")),
        (" listed.edu.", name("listed.edu.")),
        (" listed.edu:8080", name("listed.edu")),
        (" listed.edu.:80", name("listed.edu.")),
        (" listed.edu:", name("listed.edu")),
        (" listed.edu:65535", name("listed.edu")),
        (" listed.edu:65536", AMBIGUOUS),
        (" listed.edu:http", AMBIGUOUS),
        (" listed.edu:+80", AMBIGUOUS),
        (" listed.edu:80:80", AMBIGUOUS),
        (" :80", AMBIGUOUS),
        (" [::1", AMBIGUOUS),
        (" [::1]x", AMBIGUOUS),
        (" [fe80::1%25eth0]", AMBIGUOUS),
        (" [listed.edu]", AMBIGUOUS),
        (" 2001:db8::1", NO_NAME),
        // Not host names, which is for the reader of names to say.
        (" listed.edu, other.com", name("listed.edu, other.com")),
        (" http://listed.edu", AMBIGUOUS),
        (" listed.edu/path", name("listed.edu/path")),
    ] {
        assert_read(&host(value), outcome);
    }
}

#[test]
fn h1_t25_absolute_form_against_host() {
    let both = |target: &str, host: &str| get(target, &format!("Host: {host}\r\n"));
    for (target, host, outcome) in [
        ("http://listed.edu/a", "LISTED.edu.", name("listed.edu")),
        ("HTTP://Listed.edu:80/a", "listed.edu", name("Listed.edu")),
        ("https://listed.edu/a", "listed.edu:443", name("listed.edu")),
        ("http://listed.edu:8080/a", "listed.edu:8080", name("listed.edu")),
        ("http://listed.edu:8080/a", "listed.edu", AMBIGUOUS),
        ("http://listed.edu", "listed.edu", name("listed.edu")),
        ("http://listed.edu?q=http://other.com", "listed.edu", name("listed.edu")),
        ("http://listed.edu/", "", AMBIGUOUS),
        ("http://listed.edu/", "192.0.2.1", AMBIGUOUS),
        ("http://192.0.2.1/", "192.0.2.1", NO_NAME),
        ("http://[2001:db8::1]/", "[2001:db8:0::1]", NO_NAME),
        ("http:///path", "listed.edu", AMBIGUOUS),
        ("http:///path", "", AMBIGUOUS),
        ("ftp://listed.edu/", "listed.edu", AMBIGUOUS),
        ("listed.edu/path", "listed.edu", malformed("request target")),
        ("listed.edu:80", "listed.edu", malformed("request target")),
        ("//other.com/", "listed.edu", name("listed.edu")),
        ("/http://other.com/", "listed.edu", name("listed.edu")),
    ] {
        assert_read(&both(target, host), outcome);
    }
    assert_read(&get("http:///path", ""), malformed("request target"));
    assert_read(b"OPTIONS * HTTP/1.1\r\nHost: listed.edu\r\n\r\n", name("listed.edu"));
}

#[test]
fn h1_line_ends_of_both_kinds_are_ambiguous() {
    // A reader that ends lines at CR LF alone finds one header X and then `Host: other.com`.
    let two_readings = b"GET / HTTP/1.1\r\nX: a\nHost: listed.edu\n\n\r\nHost: other.com\r\n\r\n";
    assert_read(two_readings, AMBIGUOUS);
    assert_read(b"GET / HTTP/1.1\nHost: listed.edu\r\n\r\n", AMBIGUOUS);
    assert_read(b"GET / HTTP/1.1\r\nHost: listed.edu\r\n\n", AMBIGUOUS);
    assert_read(b"GET / HTTP/1.1\r\nHost: listed.edu\rX: y\r\n\r\n", malformed("header value"));
    assert_read(b"GET / HTTP/1.1\r\nHost: listed.edu\r\r\n\r\n", malformed("header value"));
}

#[test]
fn h1_bad_tokens_are_malformed() {
    for (bytes, field) in [
        (&b"GET / HTTP/1.1\r\nHo@st: a\r\n\r\n"[..], "header name"),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", "header name"),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", "header name"),
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", "header value"),
        (b"GET  / HTTP/1.1\r\nHost: a.kz\r\n\r\n", "request line"),
        (b"GET / HTTP/1.1 \r\nHost: a.kz\r\n\r\n", "line end"),
        (b"GET /\x01 HTTP/1.1\r\nHost: a.kz\r\n\r\n", "request line"),
    ] {
        assert_read(bytes, malformed(field));
    }
    // Without a version at its end, or a method at its front, the first line is that of no HTTP/1.
    assert_read(b" GET / HTTP/1.1\r\nHost: a.kz\r\n\r\n", NOT_HTTP);
    assert_read(b"G@T / HTTP/1.1\r\nHost: a.kz\r\n\r\n", NOT_HTTP);
    assert_read(b"GET /a b HTTP/1.1\r\nHost: a.kz\r\n\r\n", NOT_HTTP);
}

#[test]
fn other_protocols_are_known_by_their_first_bytes() {
    let by_first_line: &[&[u8]] = &[
        b"EHLO client.example\r\n",
        b"HELO client.example\r\n",
        b"a1 STARTTLS\r\n",
        b"a1 CAPABILITY\r\n",
        b"STLS\r\n",
        b"CAPA\r\n",
        b"USER someone\r\n",
        b"<?xml version='1.0'?><stream:stream to='example.org'",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"OPTIONS sip:listed.edu SIP/2.0\r\n",
        b"OPTIONS rtsp://listed.edu/ RTSP/1.0\r\n",
        b"GET /old\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.2\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"NICK x\r\nUSER x 0 * :x\r\n",
    ];
    for bytes in by_first_line {
        assert_read(bytes, NOT_HTTP);
    }
    // At once, not at the deadline.
    for bytes in [
        &b"\0"[..],
        b"\x80\x2e\x01",
        b"\x13BitTorrent protocol",
        b"{\"id\":1}",
        b"<",
        b" ",
        b"\rX",
        b"\xff",
        b"GET\t",
    ] {
        assert_read(bytes, NOT_HTTP);
    }
    assert_read(&[b'A'; 33], NOT_HTTP);
    assert_read(&[b'A'; 32], Outcome::NeedMore);
    assert_read(b"EHLO \x01", NOT_HTTP);
    for bytes in [&b"G"[..], b"GET ", b"GET /a HTTP/1.", b"\r", b"\r\n", b"EHLO client"] {
        assert_read(bytes, Outcome::NeedMore);
    }
}

#[test]
fn it_looks_like_http_as_soon_as_it_does() {
    let looks = |bytes: &[u8]| {
        let mut reader = HeadReader::new(LIMITS);
        reader.push(bytes);
        reader.looks_like_http()
    };
    assert!(!looks(b"GET") && looks(b"GET ") && looks(b"POST /"));
    assert!(!looks(b"OPTIONS * ") && looks(b"OPTIONS * HTTP/1.1\r\n"));
    assert!(!looks(b"OPTIONS * SIP/2.0\r\n") && !looks(b"EHLO x"));
}

#[test]
fn h1_head_at_the_limits_and_one_over() {
    let of = |bytes: usize| {
        let head = "GET / HTTP/1.1\r\nHost: listed.edu\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "x".repeat(bytes - head.len()))).into_bytes()
    };
    assert_read(&of(16384), name("listed.edu"));
    assert_read(&of(16385), Outcome::Oversize);
    let empty_lines = [b"\r\n".repeat(100), of(16384 - 200)].concat();
    assert_read(&empty_lines, name("listed.edu"));
    let empty_lines = [b"\r\n".repeat(100), of(16385 - 200)].concat();
    assert_read(&empty_lines, Outcome::Oversize);
    assert_read(&b"\r\n".repeat(20_000), Outcome::Oversize);
    assert_read(&[b"GET /".to_vec(), vec![b'a'; 20_000]].concat(), Outcome::Oversize);

    let lines = |count: usize| get("/", &format!("{}Host: listed.edu\r\n", "X: y\r\n".repeat(count - 1)));
    assert_read(&lines(100), name("listed.edu"));
    assert_read(&lines(101), Outcome::Oversize);
    for headers_max in [0, 1, 99, 100, 101, 300] {
        let limits = HeadLimits { headers_max, ..LIMITS };
        let mut reader = HeadReader::new(limits);
        let head = lines(headers_max.max(1));
        let read = reader.push(&head);
        assert_eq!(read == name("listed.edu"), headers_max > 0, "{headers_max}");
        assert_eq!(HeadReader::new(limits).push(&lines(headers_max + 1)), Outcome::Oversize, "{headers_max}");
    }
}

#[test]
fn h1_a_fault_is_found_whatever_follows_it() {
    let fault = b"GET / HTTP/1.1\r\nHost : listed.edu\r\n".to_vec();
    let endless = [&fault[..], b"X: ", &[b'x'; 20_000]].concat();
    assert_read(&endless, malformed("header name"));
    let mut reader = HeadReader::new(LIMITS);
    assert_eq!(reader.push(&fault), Outcome::NeedMore);
    assert_eq!(reader.cut_short(), malformed("header name"));
    let mut reader = HeadReader::new(LIMITS);
    assert_eq!(reader.push(b"GET / HTTP/1.1\r\nHost: listed.edu\r\n"), Outcome::NeedMore);
    assert_eq!(reader.cut_short(), Outcome::NeedMore);
}

#[test]
fn h1_every_prefix_needs_more_and_nothing_else() {
    let head = get("/a?b", "Host: listed.edu\r\nUser-Agent: x\r\n");
    for end in 1..head.len() {
        assert_read(&head[..end], Outcome::NeedMore);
    }
    assert_read(&head, name("listed.edu"));
    let body = [&head[..], b"GET / HTTP/1.1\r\nHost: other.com\r\n\r\n"].concat();
    assert_read(&body, name("listed.edu"));
}

#[test]
fn one_piece_is_read_in_place() {
    let mut reader = HeadReader::new(LIMITS);
    assert_eq!(reader.push(&get("/", "Host: listed.edu\r\n")), name("listed.edu"));
    assert_eq!(reader.buffer_bytes(), 0);
}

#[test]
fn fuzz_corpus_replays() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/http_head");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        target::run(&std::fs::read(file.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "{folder} has inputs");
}

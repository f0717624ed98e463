//! Hellos of real clients, and the differential with rustls: where rustls reads a name, ours is that name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use support::hellos;

#[path = "../fuzz/targets/hello.rs"]
mod target;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use billing_export::Reason;
use gateway::flow::identify::{Identifier, IdentifyLimits, Identity};
use gateway::wire::tls::{HelloLimits, HelloStream, Outcome};
use hellos::{Hello, Random, records};

/// What every client of these tests asks for.
const ASKED: &str = "captured.example.edu";
/// How long a client may take to say hello (chromium starts slowly on a busy machine).
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

fn identity(bytes: &[u8], size: usize) -> Identity {
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    for piece in bytes.chunks(size) {
        identifier.observe(piece);
    }
    identifier.finish();
    identifier.identity().unwrap().clone()
}

/// The hello names `asked`, in all cuttings into segments and records, and rustls agrees.
fn assert_asks(from: &str, wire: &[u8], asked: Option<&str>) {
    let mut handshake = Vec::new();
    let mut rest = wire;
    while let [22, _, _, high, low, after @ ..] = rest {
        let (fragment, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        handshake.extend(fragment);
        rest = after;
    }
    for record in [1, 7, 100, 16384] {
        let wire = records(&handshake, record);
        for segment in [1, 7, 536, 1460, wire.len()] {
            let identity = identity(&wire, segment);
            assert_eq!(
                identity.name.as_ref().map(|name| name.as_str()),
                asked,
                "{from}, {record}, {segment}"
            );
            assert_eq!(
                identity.gave_up,
                asked.is_none().then_some(Reason::NoName),
                "{from}, {record}, {segment}"
            );
        }
    }
    assert_eq!(target::rustls_name(wire).as_deref(), asked, "{from}");
}

#[test]
fn t4_hellos_of_real_clients_kept_as_files() {
    let captured = hellos::captured();
    assert!(captured.len() >= 6, "the corpus of hellos is there");
    for (file, wire, asked) in &captured {
        assert_asks(file, wire, *asked);
    }
    let (_, post_quantum, _) = captured.iter().find(|(file, ..)| file.starts_with("chromium")).unwrap();
    assert!(post_quantum.len() > 1460, "more than a segment");
    let mut stream =
        HelloStream::new(HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 });
    let Outcome::Hello(facts) = stream.push(post_quantum).outcome else { panic!("a hello") };
    assert!(facts.ech.is_some_and(|ech| ech.config_id.is_some()), "chromium sends GREASE ECH");
}

/// The first bytes that a client sends to a listener of ours, up to the end of its first record.
fn hello_of(program: &str, arguments: &[&str]) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Command::new(program)
        .args(arguments.iter().map(|argument| argument.replace("{port}", &port)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs the clients these tests use"));
    let started = Instant::now();
    let hello = loop {
        assert!(started.elapsed() < CLIENT_PATIENCE, "{program} says hello");
        match listener.accept() {
            Ok((connection, _)) => {
                let bytes = first_record(connection);
                if bytes.first() == Some(&22) {
                    break bytes;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    };
    client.kill().unwrap();
    client.wait().unwrap();
    hello
}

/// The first TLS record of a connection, or what came before the peer gave up.
fn first_record(mut connection: TcpStream) -> Vec<u8> {
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = vec![0; 5];
    if connection.read_exact(&mut bytes).is_err() {
        return Vec::new();
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([bytes[3], bytes[4]]))];
    if connection.read_exact(&mut body).is_err() {
        return Vec::new();
    }
    bytes.extend(body);
    bytes
}

#[test]
fn t4_hellos_of_the_clients_on_this_machine() {
    let connect_to = format!("{ASKED}:443:127.0.0.1:{{port}}");
    let url = format!("https://{ASKED}/");
    let curl = hello_of("curl", &["-sk", "--connect-to", &connect_to, &url]);
    assert_asks("curl", &curl, Some(ASKED));
    let openssl = ["s_client", "-connect", "127.0.0.1:{port}", "-servername", ASKED];
    assert_asks("openssl", &hello_of("openssl", &openssl), Some(ASKED));
    let nameless = ["s_client", "-connect", "127.0.0.1:{port}", "-noservername"];
    assert_asks("openssl without a name", &hello_of("openssl", &nameless), None);
    let python = format!(
        "import socket, ssl\n\
         plain = socket.create_connection((\"127.0.0.1\", {{port}}))\n\
         ssl.create_default_context().wrap_socket(plain, server_hostname=\"{ASKED}\")"
    );
    assert_asks("python", &hello_of("python3", &["-c", &python]), Some(ASKED));
}

#[test]
fn t4_hello_of_chromium_on_this_machine() {
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let map = format!("--host-resolver-rules=MAP {ASKED} 127.0.0.1:{{port}}, MAP * ~NOTFOUND");
    let url = format!("https://{ASKED}/");
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
        &profile,
        &map,
        &url,
    ];
    assert_asks("chromium", &hello_of("chromium", &arguments), Some(ASKED));
}

/// A hello of rustls itself.
fn rustls_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    wire
}

/// I-T8: 100,000 changed hellos. Where rustls reads a name ours is the same after folding; nothing panics.
#[test]
fn i_t8_t3_where_rustls_reads_a_name_ours_is_that_name() {
    let mut random = Random::seeded(0x0001_2020_0404);
    let mut seeds: Vec<Vec<u8>> = hellos::captured().into_iter().map(|(_, wire, _)| wire).collect();
    seeds.push(rustls_hello("daryn.online"));
    seeds.push(Hello::post_quantum("Listed.EDU.").wire());
    seeds.push(records(&Hello::named("listed.edu").message(), 50));
    seeds.push(records(&Hello::named("a_b.listed.edu").message(), 200));
    let (mut named, mut nameless) = (0, 0);
    for _ in 0..100_000 {
        let mut wire = seeds[random.below(seeds.len())].clone();
        // Half of the changes go where the name is, for most of a hello is of no matter here.
        let near = wire.windows(7).position(|window| window.eq_ignore_ascii_case(b"example")).unwrap_or(60);
        if random.below(2) == 0 && near + 20 < wire.len() {
            let mut middle = wire[near.saturating_sub(25)..near + 20].to_vec();
            random.mutate(&mut middle);
            wire.splice(near.saturating_sub(25)..near + 20, middle);
        } else {
            random.mutate(&mut wire);
        }
        let size = [1 + random.below(40), usize::MAX][random.below(2)].min(wire.len().max(1));
        let ours = identity(&wire, size);
        let Some(theirs) = target::rustls_name(&wire) else {
            nameless += 1;
            continue;
        };
        named += 1;
        let folded = theirs.to_ascii_lowercase();
        let folded = folded.strip_suffix('.').unwrap_or(&folded);
        let name = ours.name.as_ref().map(|name| name.as_str());
        assert_eq!(name, Some(folded), "{wire:02x?} gave up: {:?}", ours.gave_up);
    }
    println!("rustls read a name in {named}, none in {nameless}");
    assert!(named > 10_000 && nameless > 10_000, "the changes reach both sides");
}

/// Changed connections of two hellos and more: no panic, bounded memory, one answer for every cutting.
#[test]
fn i_t8_changed_connections_do_not_depend_on_the_cutting() {
    let mut random = Random::seeded(0x0002_2020_0406);
    let connection = [
        Hello::post_quantum("listed.edu").wire(),
        hellos::change_cipher_spec(),
        records(&Hello::named("listed.edu").message(), 60),
        hellos::record(23, &[0; 80]),
    ]
    .concat();
    for _ in 0..20_000 {
        let mut wire = connection.clone();
        random.mutate(&mut wire);
        let whole = identity(&wire, wire.len().max(1));
        for size in [1, 1 + random.below(100)] {
            assert_eq!(identity(&wire, size), whole, "pieces of {size}: {wire:02x?}");
        }
    }
}

#[test]
fn fuzz_corpus_replays() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/hello");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        target::run(&bytes);
        // A captured hello has no byte in front that tells the cutting.
        target::run(&[&[0], &bytes[..]].concat());
        files += 1;
    }
    assert!(files > 0, "{folder} has inputs");
}

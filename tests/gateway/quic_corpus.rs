//! Changed QUIC: the fuzz target on its corpus and on random steps, and the differential with rustls: where rustls
//! reads a name in the joined handshake, ours is that name, and what cannot be opened never names another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use support::hellos;

#[allow(dead_code, reason = "only its oracle is asked here")]
#[path = "../fuzz/targets/hello.rs"]
mod oracle;
#[path = "../fuzz/targets/quic_initial.rs"]
mod target;

use std::path::Path;

use gateway::flow::identify::{Identity, QuicIdentifier};
use gateway::wire::quic::{InitialReader, Outcome, QuicLimits, server_connection_id};
use hellos::{Hello, Random, records};
use target::quic::{DRAFT_29, Initial, V1, V2, crypto};

fn identity<D: AsRef<[u8]>>(datagrams: &[D]) -> Identity {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    for datagram in datagrams {
        identifier.observe(datagram.as_ref());
    }
    identifier.finish();
    identifier.identity().unwrap().clone()
}

/// The pieces of a message, cut and shuffled at random, in one to three datagrams with PING and PADDING between.
fn scattered(random: &mut Random, message: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut from = 0;
    while from < message.len() {
        let to = (from + 1 + random.below(message.len().div_ceil(8))).min(message.len());
        let early = from.saturating_sub(random.below(20));
        frames.push(crypto(early as u64, &message[early..to]));
        from = to;
    }
    for index in (1..frames.len()).rev() {
        frames.swap(index, random.below(index + 1));
    }
    let version = [V1, V2, DRAFT_29][random.below(3)];
    let datagrams = 1 + random.below(3);
    (0..datagrams)
        .map(|datagram| {
            let mut payload = Vec::new();
            for frame in frames.iter().skip(datagram).step_by(datagrams) {
                payload.extend(frame);
                payload.extend(&[0, 1, 0][..random.below(4)]);
            }
            let number = random.below(300) as u32;
            Initial::new(&payload).version(version).number(number, 2 + random.below(3)).seal()
        })
        .collect()
}

#[test]
fn corpus_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/quic_initial");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "the corpus is there");
    for file in files {
        target::run(&std::fs::read(file).unwrap());
    }
}

#[test]
fn random_steps_hold_what_the_fuzz_target_asserts() {
    let mut random = Random::seeded(0x0005_2020_0404);
    for _ in 0..3_000 {
        let mut steps = Vec::new();
        for _ in 0..random.below(40) {
            // Pieces mostly, of few connections, so that hellos become complete.
            let kind = [2, 2, 2, 3, 3, 1, 0][random.below(7)];
            steps.push(kind | (random.below(4) << 2) as u8 & [0x0c, 0xfc][usize::from(kind == 3)]);
            if kind == 2 {
                let from = [0, 0, 60, random.below(2_000)][random.below(4)] as u16;
                steps.extend(from.to_be_bytes());
                steps.extend((random.below(0x1_0000) as u16).to_be_bytes());
            } else if kind < 2 {
                let length = random.below(60);
                steps.extend((length as u16).to_be_bytes());
                steps.extend((0..length).map(|_| random.next() as u8));
            }
        }
        target::run(&steps);
    }
}

/// 20,000 hellos changed before they were sealed. Where rustls reads a name ours is the same after folding.
#[test]
fn i_t8_where_rustls_reads_a_name_in_the_handshake_ours_is_that_name() {
    let mut random = Random::seeded(0x0003_2020_0404);
    let seeds: Vec<Vec<u8>> = ["Listed.EDU.", "captured.example.edu"]
        .into_iter()
        .flat_map(|name| [Hello::post_quantum(name).message(), Hello::named(name).message()])
        .collect();
    let (mut named, mut nameless) = (0, 0);
    for _ in 0..20_000 {
        let mut message = seeds[random.below(seeds.len())].clone();
        if random.below(4) > 0 {
            random.mutate(&mut message);
        }
        if message.is_empty() || message.len() > 3_000 {
            continue;
        }
        let ours = identity(&scattered(&mut random, &message));
        let Some(theirs) = oracle::rustls_name(&records(&message, 16_384)) else {
            nameless += 1;
            continue;
        };
        named += 1;
        let folded = theirs.to_ascii_lowercase();
        let folded = folded.strip_suffix('.').unwrap_or(&folded);
        let name = ours.name.as_ref().map(|name| name.as_str());
        assert_eq!(name, Some(folded), "{message:02x?} gave up: {:?}", ours.gave_up);
    }
    println!("rustls read a name in {named}, none in {nameless}");
    assert!(named > 4_000 && nameless > 4_000, "the changes reach both sides");
}

/// 20,000 flights, one datagram of each changed after it was sealed: no panic, and the name asked for or none.
#[test]
fn q9_changed_datagrams_never_name_another() {
    let mut random = Random::seeded(0x0004_2020_0406);
    let (mut named, mut nameless) = (0, 0);
    let message = Hello::post_quantum("listed.edu").message();
    let small = Hello::named("listed.edu").message();
    for _ in 0..20_000 {
        let hello = if random.below(2) == 0 { &small } else { &message };
        let mut datagrams = scattered(&mut random, hello);
        let chosen = random.below(datagrams.len());
        if random.below(2) == 0 {
            // The header, where nothing is encrypted.
            let mut head = datagrams[chosen][..30].to_vec();
            random.mutate(&mut head);
            datagrams[chosen].splice(..30, head);
        } else {
            random.mutate(&mut datagrams[chosen]);
        }
        let _ = server_connection_id(&datagrams[chosen]);
        if random.below(2) == 0 {
            datagrams.extend(scattered(&mut random, hello));
        }
        match identity(&datagrams).name {
            Some(name) => {
                assert_eq!(name.as_str(), "listed.edu");
                named += 1;
            }
            None => nameless += 1,
        }
    }
    println!("{named} named, {nameless} not");
    assert!(named > 2_000 && nameless > 2_000, "the changes reach both sides");
}

/// Work is linear: as many frames as a datagram holds, each repeated, are read a bounded number of times.
#[test]
fn a_datagram_full_of_frames_is_cut_off_at_the_limits() {
    let hello = Hello::post_quantum("listed.edu").message();
    let mut reader = InitialReader::new(QuicLimits::default());
    let frames: Vec<u8> =
        (0..hello.len()).rev().step_by(2).flat_map(|at| crypto(at as u64, &hello[at..=at])).collect();
    let heard = |_: gateway::wire::tls::Facts<'_>| true;
    assert_eq!(reader.push(&Initial::new(&frames).sized(9_000).seal(), heard), Outcome::Oversize);
    assert_eq!(reader.buffer_bytes(), 0);
    // Acknowledgments and padding without end bring nothing and cost nothing.
    let mut reader = InitialReader::new(QuicLimits::default());
    let nothing = [vec![0; 4_000], vec![1; 4_000], [2, 0, 0, 0, 0].repeat(800)].concat();
    assert_eq!(reader.push(&Initial::new(&nothing).sized(0).seal(), heard), Outcome::NeedMore);
}

//! One worker, most of it without a listener: a fault of ours in one flow costs that flow alone (its places come back, its bytes are counted,
//! the others go on), and whose a flow is that begins while sessions change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use billing_export::{ByteBasis, Disposition, Flag, Session, SubscriberType, Volume};
use gateway::flow::allowance::AllowancePlan;
use gateway::flow::binding::{AnswerLimits, Nat64};
use gateway::flow::identify::IdentifyLimits;
use gateway::flow::mark::Mark;
use gateway::flow::rating::{RatingGroup, RatingPlan};
use gateway::flow::session::{self, Block, Change, SessionSource, Sessions};
use gateway::flow::silence::SilenceLimits;
use gateway::net::edge::silence::Silences;
use gateway::net::ingress::accept::Acceptor;
use gateway::net::ingress::access::Access;
use gateway::net::lookup::answers::Answers;
use gateway::net::lookup::{LookupSettings, Lookups};
use gateway::net::node::event::Event;
use gateway::net::node::flow_record::{Destination, SubscriberSide};
use gateway::net::node::policy::{Exemption, Policy, PolicyCell};
use gateway::net::node::report::Report;
use gateway::net::node::settings::{DialRules, FlowsPerSubscriber, Limits, Mode};
use gateway::net::node::shared::{Saved, Shared};
use gateway::net::node::worker::{OpenFlow, Worker};
use gateway::net::sys::beats::Beats;
use gateway::net::sys::clock::Clock;
use gateway::net::sys::egress::Egress;
use gateway::net::sys::header_lengths::HeaderLengths;
use gateway::net::sys::overload::Overload;
use gateway::net::udp::connection_ids::ConnectionIds;
use gateway::wire::quic::QuicLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::Semaphore;

/// Room for flows.
const ROOM: usize = 4;

/// Limits that nothing here runs into.
fn limits() -> Limits {
    let long = Duration::from_secs(60);
    Limits {
        identify: IdentifyLimits::default(),
        quic: QuicLimits::default(),
        identify_deadline: long,
        idle_timeout: long,
        unknown_prefix: (32, 64),
        https_idle_timeout: long,
        quic_idle_timeout: long,
        udp_idle_timeout: long,
        unanswered_timeout: Duration::from_secs(60),
        unanswered_per_subscriber_max: 10,
        socket_memory_per_subscriber_max: 1 << 20,
        unanswered_per_worker_max: 10,
        undecided_per_worker_max: 10,
        held_datagrams_max: 10,
        proxy_header_deadline: long,
        connect_timeout: long,
        original_connect_timeout: long,
        original_connect_timeout_ipv6: long,
        failed_timeout: long,
        failed_per_worker_max: 1,
        silence: SilenceLimits { time: long, max: 1, per_subscriber_max: 1 },
        finish_deadline: long,
        flows_per_subscriber_max: FlowsPerSubscriber::all(1),
        accepts_per_wake_max: 1,
        adopt: Duration::ZERO,
        relay_buffer: 4_096,
        pipes_per_worker_max: 1,
    }
}

/// What workers share, with nothing listed and nobody known.
fn shared() -> Arc<Shared> {
    let group = RatingGroup { id: 1, disposition: Disposition::Observed, mark: Mark::NONE };
    let policy = Arc::new(PolicyCell::new(Policy {
        generation: 0,
        list: None,
        pending: Vec::new(),
        routes: Arc::default(),
        rating: Arc::new(RatingPlan::new(group, Vec::new())),
        allowance: Arc::new(AllowancePlan::unlimited()),
        allowances: Arc::default(),
        exemption: Exemption::Allowed,
    }));
    let dial = Arc::new(DialRules {
        port_map: BTreeMap::new(),
        allow_private: true,
        nat64: Nat64::default(),
        own_addresses: Arc::default(),
        own_sockets: Vec::new(),
        sources: Vec::new(),
    });
    let clock = Clock::new();
    let answers = Answers::new(
        AnswerLimits::default(),
        Nat64::default(),
        Arc::clone(&policy),
        Arc::clone(&dial),
        clock,
    );
    let second = Duration::from_secs(1);
    let settings = LookupSettings {
        resolvers: Vec::new(),
        try_timeout: second,
        tries: 1,
        total_timeout: second,
        stale_after: second,
        cnames_max: 1,
        negative_ttl: second,
        per_second_max: 1,
        in_flight_max: 1,
        per_subscriber_minute_max: 1,
        waiting_max: 1,
        waiting_per_subscriber_max: 1,
        names_max: 1,
        scheduled_per_second_max: 0,
    };
    let runtime = tokio::runtime::Handle::current();
    let lookups =
        Lookups::new(settings, answers, Arc::clone(&policy), Arc::clone(&dial), clock, runtime).unwrap();
    Arc::new(Shared {
        beats: Beats::new(0),
        policy,
        sessions: Arc::new(Sessions::new(1, RandomState::new())),
        lookups,
        byte_basis: ByteBasis::Payload,
        headers: None,
        egress: Egress::new(clock, Vec::new()),
        limits: limits(),
        silences: Silences::new(limits().silence),
        dial,
        flow_permits: Arc::new(Semaphore::new(ROOM)),
        overload: Overload::new(Some(u64::MAX), ROOM),
        undecided_permits: Arc::new(Semaphore::new(1)),
        connection_ids: ConnectionIds::default(),
        own_ends: Arc::default(),
        open_by_subscriber: Mutex::default(),
        accounts_max: 10,
        saved: Arc::new(Saved::new(Duration::from_secs(60))),
        clock,
    })
}

/// A connection as it was accepted; the client's side stays open.
async fn connection() -> (Rc<gateway::net::tcp::stream::TcpStream>, TcpStream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let accepted = gateway::net::tcp::stream::TcpStream::from_std(accepted.into_std().unwrap()).unwrap();
    (Rc::new(accepted), client, peer)
}

/// One flow's task, as a listener starts it: it sends so many bytes and then fails, or not.
async fn flow(worker: Rc<Worker>, bytes: usize, fails: bool) {
    let (stream, _client, peer) = connection().await;
    let _permit = Arc::clone(&worker.shared.flow_permits).acquire_owned().await.unwrap();
    let side = SubscriberSide::stream(stream, peer.ip(), ByteBasis::Payload);
    let place = Destination::Original("127.0.0.1:443".parse().unwrap());
    let open = worker.open_flow(peer, place, side);
    assert!(!open.flow().is_over_limit(), "his one place is free");
    worker.received(open.flow(), &vec![22; bytes]);
    if fails {
        // With the worker's one buffer in its hands.
        let _buffer = worker.buffer.borrow_mut();
        panic!("a fault of ours");
    }
}

/// Runs `work` as a worker's event loop does.
fn on_a_worker(work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).unwrap().block_on(work);
}

#[test]
fn s_a_panic_in_a_flow_costs_that_flow_alone_and_is_counted() {
    on_a_worker(async {
        let worker = Worker::new(shared(), 0);
        let failed = tokio::task::spawn_local(flow(Rc::clone(&worker), 100, true)).await;
        assert!(failed.unwrap_err().is_panic());
        // The same subscriber, whose one place it had.
        tokio::task::spawn_local(flow(Rc::clone(&worker), 10, false)).await.unwrap();
        assert_eq!(worker.shared.flow_permits.available_permits(), ROOM);
        assert_eq!(worker.flows_open(), 0);
        assert!(worker.shared.open_by_subscriber.lock().unwrap().is_empty());
        assert_eq!(worker.buffer.borrow().len(), 4_096, "whoever comes next can borrow it");
        let report = worker.report();
        assert_eq!(report.events.of(Event::Panic), 1);
        assert_eq!(report.seen, Volume { up: 110, down: 0 });
        let counted: u64 = report.usage.iter().map(|usage| usage.volume.up).sum();
        assert_eq!((counted, report.pending_after), (110, Volume::ZERO));
        assert_eq!(worker.report().events.of(Event::Panic), 0, "once");
    });
}

/// A flow of this source, as a listener begins it.
async fn begun(worker: &Rc<Worker>, source: IpAddr) -> (OpenFlow, TcpStream) {
    let (stream, client, _) = connection().await;
    let side = SubscriberSide::stream(stream, source, ByteBasis::Payload);
    let place = Destination::Original("127.0.0.1:443".parse().unwrap());
    (worker.open_flow(SocketAddr::new(source, 50_000), place, side), client)
}

#[test]
fn f33_what_is_over_a_limit_takes_none_of_the_last_places() {
    on_a_worker(async {
        let worker = Worker::new(shared(), 0);
        let (one, other): (IpAddr, IpAddr) = ("127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap());
        let ends = |open: &OpenFlow| (open.flow().is_over_limit(), open.flow().cut.is_asked());
        let take = || Arc::clone(&worker.shared.flow_permits).try_acquire_owned().unwrap();
        let mut places: Vec<_> = (1..ROOM).map(|_| take()).collect();
        let (first, _client) = begun(&worker, one).await;
        let (second, _client) = begun(&worker, one).await;
        assert_eq!((ends(&first), ends(&second)), ((false, false), (true, false)), "there is room");
        // The last one is taken: of four, nine tenths.
        places.push(take());
        let (third, _client) = begun(&worker, one).await;
        let (others, _client) = begun(&worker, other).await;
        assert_eq!((ends(&third), ends(&others)), ((true, true), (false, false)));
        assert_eq!(worker.shared.overload.shed_total(), 1);
        assert!(worker.shared.overload.over_limit.attention().is_some());
        drop((first, second, third, others));
        assert!(worker.shared.overload.over_limit.attention().is_none());
    });
}

#[test]
fn b19_a_flow_that_begins_when_its_address_has_just_changed_hands_is_the_new_sessions() {
    on_a_worker(async {
        let worker = Worker::new(shared(), 0);
        let sessions = Arc::clone(&worker.shared.sessions);
        let account = |id: &str| Session::new(SubscriberType::Account, id, "").unwrap();
        let change = |event| {
            let block = Block::of("127.0.0.1".parse().unwrap());
            sessions.apply([Change { block, source: SessionSource::Accounting, event }]);
        };
        change(session::Event::Bind(account("before")));
        change(session::Event::Release);
        change(session::Event::Bind(account("after")));
        let (open, _client) = begun(&worker, "127.0.0.1".parse().unwrap()).await;
        worker.received(open.flow(), b"SSH-2.0-first\r\n");
        // The end of the session before is news to the worker, and none of this flow's.
        worker.follow_sessions();
        worker.received(open.flow(), b"SSH-2.0-again\r\n");
        let of = |report: &Report| {
            let usage = report
                .usage
                .iter()
                .map(|usage| (usage.account.session.subscriber_id().to_owned(), usage.volume.up));
            usage.collect::<Vec<_>>()
        };
        assert_eq!(of(&worker.report()), [("after".to_owned(), 30)]);
        // Its own end is.
        change(session::Event::Release);
        change(session::Event::Bind(account("after")));
        worker.follow_sessions();
        worker.received(open.flow(), b"SSH-2.0-later\r\n");
        assert_eq!(of(&worker.report()), [(String::new(), 15)]);
    });
}

#[test]
fn f3_a_connection_made_before_its_listener_took_a_turn_counts_with_its_options() {
    on_a_worker(async {
        let Ok(headers) = HeaderLengths::load() else {
            println!("SKIPPED: filters of sockets want CAP_BPF");
            return;
        };
        let mut shared = Arc::into_inner(shared()).unwrap();
        (shared.byte_basis, shared.headers) = (ByteBasis::Ip, Some(headers));
        let worker = Worker::new(Arc::new(shared), 0);
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.set_nonblocking(true).unwrap();
        let address = bound.local_addr().unwrap();
        let access = Access { prefixes: vec!["127.0.0.0/8".parse().unwrap()], subscribers: false };
        let acceptor = Acceptor::new(Rc::clone(&worker), bound, Mode::Steered { service_port: None, access });
        // It stands in the backlog until the listener takes its turn.
        let mut client = TcpStream::connect(address).await.unwrap();
        let running = tokio::task::spawn_local(acceptor.run());
        client.write_all(b"GET / HTTP/1.1\r\nHost: www.elsewhere.example\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 421 "), "{}", String::from_utf8_lossy(&answer));
        drop(client);
        while worker.flows_open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.abort();
        let report = worker.report();
        assert!(report.seen.up > 0 && !report.usage.is_empty());
        let is_low = report.usage.iter().any(|usage| usage.flags.contains(Flag::LowerBound));
        assert!(!is_low, "nobody saw its options: {:?}", report.usage);
    });
}

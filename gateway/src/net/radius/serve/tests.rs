//! A fault of ours in the thread, with a disk that has one.

use std::hash::RandomState;
use std::net::Ipv4Addr;

use arc_swap::ArcSwap;
use billing_export::SubscriberType;

use super::*;
use crate::flow::session::accounting::{Kind, Limits, Memory, NamedSpot, Nas, Row, RowKey, Spot, Subscriber};
use crate::net::radius::Clients;
use crate::net::sys::attention::AttentionReason;

/// A disk that has one session, and a fault of ours in it.
struct Faulty(Memory);

impl Shelf for Faulty {
    fn load(&mut self) -> Result<Kept, ShelfError> {
        Ok(Kept { memory: std::mem::take(&mut self.0), ..Kept::default() })
    }

    fn commit(&mut self, _: &[RowChange], _: Timestamp) -> Result<(), ShelfError> {
        std::panic::panic_any("a fault of the test's");
    }

    fn close(&mut self) {}
}

#[test]
fn a_fault_of_ours_is_told_and_whose_sessions_are_is_not_claimed_any_more() {
    let clock = Clock::new();
    let address = IpAddr::from([10, 0, 0, 1]);
    let now = u32::try_from(clock.now().wall.as_second()).unwrap();
    let row = Row {
        key: RowKey {
            realm: "default".into(),
            nas: Nas::new(Some(Ipv4Addr::LOCALHOST), None, None, address),
            session: b"a".as_slice().into(),
        },
        subscriber: Subscriber::new(SubscriberType::Account, "pupil"),
        start: now,
        event: now,
        heard: now,
        silence: 1_800,
        end: None,
        state: SessionState::Active,
        unsure: false,
        translated: false,
        inside: None,
        is_nat: false,
        spots: vec![NamedSpot { kind: Kind::V4, spot: Spot::of(Block::of(address)), lost: 0 }],
    };
    let shelf = Faulty(Memory { rows: vec![row], ..Memory::default() });
    let plan = Plan {
        limits: Limits { history: Duration::from_secs(600), sessions_max: 10 },
        trust_gap: Duration::ZERO,
    };
    let sessions = Arc::new(Sessions::new(10, RandomState::new()));
    let clients = Arc::new(ArcSwap::from_pointee(Clients::default()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap();
    let known = (clients, Arc::clone(&sessions));
    let service = Service::start(vec![socket], &plan, known, Box::new(shelf), true, clock).unwrap();
    let accounting = Arc::clone(&service.accounting);
    service.stop();
    let told: Vec<_> = accounting.attention().into_iter().map(|item| item.reason).collect();
    assert!(told.contains(&AttentionReason::RadiusEnded), "{told:?}");
    assert_eq!(sessions.find(address).map(|holding| holding.state), Some(SessionState::Stale));
    assert!(UdpSocket::bind(own).is_ok(), "the port is closed");
    assert!(accounting.rest(), "nobody waits for it");
}

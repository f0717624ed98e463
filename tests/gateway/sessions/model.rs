//! The table of sessions against a plain model: who has an address, and whose a flow is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use billing_export::Session;
use gateway::flow::session::{
    Block, Change, Event, Holding, SessionSource, SessionState, Sessions, Standing,
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::{change, follow, ip, session, table};

/// The table as a list of what each source says.
#[derive(Clone, Default)]
struct Model(BTreeMap<(SessionSource, IpNet), (Session, SessionState)>);

impl Model {
    /// Who has an address: by the longest prefix, of equal ones by the later source.
    fn find(&self, address: IpAddr) -> Option<(Session, SessionState)> {
        let held = self.0.iter().filter(|((_, prefix), _)| prefix.contains(&address));
        let best = held.max_by_key(|((source, prefix), _)| (prefix.prefix_len(), *source));
        best.map(|(_, held)| held.clone())
    }

    fn apply(&mut self, source: SessionSource, prefix: IpNet, event: &Event) {
        let key = (source, prefix);
        match event {
            Event::Bind(session) => {
                self.0.insert(key, (session.clone(), SessionState::Active));
            }
            Event::SetState(state) => {
                if let Some(held) = self.0.get_mut(&key) {
                    held.1 = *state;
                }
            }
            Event::Release => {
                self.0.remove(&key);
            }
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happens {
    Events(Vec<(SessionSource, IpNet, Event)>),
    /// The static table is read: these rows, and where it is `crowded` more others than a write tells one by one.
    Reload {
        rows: Vec<(IpNet, Session)>,
        crowded: bool,
    },
    /// More writes than are kept, elsewhere.
    Flood,
    /// Flows look whose they are.
    Look,
}

/// Prefixes in a small space, so that they meet.
fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (28_u8..=32, 0_u32..16).prop_map(|(length, low)| {
            IpNet::new(IpAddr::V4((0x0a00_0000 + low).into()), length).unwrap().trunc()
        }),
        (126_u8..=128, 0_u128..4).prop_map(|(length, low)| {
            IpNet::new(IpAddr::V6((0x2001_0db8_u128 << 96 | low).into()), length).unwrap().trunc()
        }),
        Just("::/0".parse().unwrap()),
        Just("0.0.0.0/0".parse().unwrap()),
    ]
}

fn somebody() -> impl Strategy<Value = Session> {
    (0_u8..4).prop_map(|number| session(&number.to_string()))
}

fn happens() -> impl Strategy<Value = Happens> {
    let state =
        prop_oneof![Just(SessionState::Active), Just(SessionState::Suspect), Just(SessionState::Stale)];
    let event = prop_oneof![
        4 => somebody().prop_map(Event::Bind),
        1 => state.prop_map(Event::SetState),
        3 => Just(Event::Release),
    ];
    let source = prop_oneof![Just(SessionSource::Static), Just(SessionSource::Accounting)];
    prop_oneof![
        16 => proptest::collection::vec((source, prefix(), event), 1..4).prop_map(Happens::Events),
        5 => (proptest::collection::vec((prefix(), somebody()), 0..8), any::<bool>())
            .prop_map(|(rows, crowded)| Happens::Reload { rows, crowded }),
        1 => Just(Happens::Flood),
        12 => Just(Happens::Look),
    ]
}

/// The addresses that are looked up, at each of which a flow is open.
fn addresses() -> Vec<IpAddr> {
    let v4 = (0..16_u32).map(|low| IpAddr::V4((0x0a00_0000 + low).into()));
    let v6 = (0..4_u128).map(|low| IpAddr::V6((0x2001_0db8_u128 << 96 | low).into()));
    v4.chain(v6).chain([ip("192.0.2.1"), ip("2001:db9::1")]).collect()
}

/// Where a flood of writes happens: at none of [`addresses`], and in the widest block of theirs.
const FLOODED: &str = "198.51.100.1/32";

/// The standing by a session and its state.
fn standing_of(held: Option<(Session, SessionState)>) -> Standing {
    match held {
        None => Standing::Unknown,
        Some((session, SessionState::Active)) => Standing::Known(session),
        Some((session, SessionState::Suspect)) => Standing::Suspect(session),
        Some((session, SessionState::Stale)) => Standing::Stale(session),
    }
}

/// Whose a standing says that the bytes may be.
fn owner(standing: &Standing) -> Option<&Session> {
    match standing {
        Standing::Known(session) | Standing::Suspect(session) | Standing::Stale(session) => Some(session),
        Standing::Introduced(_) | Standing::Nobody => panic!("nobody introduced it"),
        Standing::Unknown | Standing::Ended => None,
    }
}

proptest! {
    /// Whatever comes, the table says what the model says; and a flow is its session's for as long as that has the address
    /// without a break. Looked at after each write a flow stands exactly so; looked at later, it may have ended where nobody
    /// can tell any more, but it is never a session's that lost the address in between.
    #[test]
    fn b19_the_table_says_what_a_plain_model_says(
        story in proptest::collection::vec(happens(), 1..40),
        looks_at_once in any::<bool>(),
    ) {
        let sessions = table(1_000);
        let mut model = Model::default();
        let addresses = addresses();
        let begun = |sessions: &Sessions, address: &IpAddr| Standing::at_start(sessions.find(*address));
        // What the gateway has of each flow, and what an all-knowing clerk has.
        let mut flows: Vec<(Standing, Standing)> =
            addresses.iter().map(|address| (begun(&sessions, address), Standing::Unknown)).collect();
        let mut seen = sessions.number();
        let mut crowds = 0;
        for one in story {
            match &one {
                Happens::Events(events) => {
                    sessions.apply(events.iter().map(|(source, prefix, event)| Change {
                        block: Block::from(*prefix),
                        source: *source,
                        event: event.clone(),
                    }));
                    events.iter().for_each(|(source, prefix, event)| model.apply(*source, *prefix, event));
                }
                Happens::Flood => {
                    for number in 0..4_100 {
                        let bound = Event::Bind(session(&format!("flood-{number}")));
                        sessions.apply([change(SessionSource::Accounting, FLOODED, bound.clone())]);
                        model.apply(SessionSource::Accounting, FLOODED.parse().unwrap(), &bound);
                    }
                }
                Happens::Reload { rows, crowded } => {
                    crowds += u32::from(*crowded);
                    // Other sessions each time: every row of them changes.
                    let crowd = (0..if *crowded { 300 } else { 0 }).map(|number: u32| {
                        let prefix = IpNet::from(IpAddr::V4((0xc0a8_0000 + number).into()));
                        (prefix, session(&format!("crowd-{crowds}")))
                    });
                    let rows: Vec<_> = rows.iter().cloned().chain(crowd).collect();
                    sessions.replace_static(rows.iter().map(|(prefix, session)| ((*prefix).into(), session.clone())));
                    let kept = model.0.clone();
                    model.0.retain(|(source, _), _| *source != SessionSource::Static);
                    for (prefix, session) in rows {
                        let was = kept.get(&(SessionSource::Static, prefix)).filter(|(held, _)| *held == session);
                        let state = was.map_or(SessionState::Active, |(_, state)| *state);
                        model.0.insert((SessionSource::Static, prefix), (session, state));
                    }
                }
                Happens::Look => {}
            }
            prop_assert_eq!(sessions.len(), model.0.len());
            for (address, (_, clerk)) in addresses.iter().zip(&mut flows) {
                let held = model.find(*address);
                let found = sessions.find(*address).map(|Holding { session, state, .. }| (session, state));
                prop_assert_eq!(&found, &held, "{}", address);
                let is_own = owner(clerk).is_some_and(|own| held.as_ref().is_some_and(|(now, _)| now == own));
                match clerk {
                    Standing::Unknown | Standing::Ended => {}
                    _ if is_own => *clerk = standing_of(held),
                    _ => *clerk = Standing::Ended,
                }
            }
            if looks_at_once || matches!(one, Happens::Look) {
                for (address, (standing, clerk)) in addresses.iter().zip(&mut flows) {
                    *standing = follow(&sessions, *address, standing, seen);
                    if looks_at_once {
                        prop_assert_eq!(&*standing, &*clerk, "{}", address);
                    } else if owner(standing).is_some() {
                        prop_assert_eq!(&*standing, &*clerk, "{}", address);
                    }
                    // A flow that has ended makes place for the next one from its address.
                    if matches!(standing, Standing::Ended | Standing::Unknown) {
                        *standing = begun(&sessions, address);
                        *clerk = standing_of(model.find(*address));
                    }
                }
                seen = sessions.number();
            }
        }
    }

    /// Of rows for which there is no room the addresses are nobody's, never somebody else's; and a table that was read after
    /// others says what it says when it is the first.
    #[test]
    fn t36_b19_with_too_little_room_an_address_has_its_session_or_none(
        tables in proptest::collection::vec(
            (proptest::collection::vec((prefix(), somebody()), 0..12), 0_usize..12),
            1..6,
        ),
    ) {
        let sessions = table(0);
        for (rows, held_max) in tables {
            let rows: Vec<(Block, Session)> = rows.into_iter().map(|(prefix, one)| (prefix.into(), one)).collect();
            let (whole, first) = (table(1_000), table(held_max));
            whole.replace_static(rows.clone());
            first.replace_static(rows.clone());
            sessions.set_held_max(held_max);
            let applied = sessions.replace_static(rows);
            prop_assert_eq!(applied.full, whole.len().saturating_sub(held_max));
            prop_assert_eq!(sessions.len(), whole.len().min(held_max));
            prop_assert_eq!(sessions.unbound(), applied.full);
            let at = |sessions: &Sessions, address| sessions.find(address).map(|holding| holding.session);
            for address in addresses() {
                let found = at(&sessions, address);
                prop_assert_eq!(&found, &at(&first, address));
                prop_assert!(found.is_none() || found == at(&whole, address), "{}", address);
            }
        }
    }
}

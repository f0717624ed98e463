//! The table of sessions: who has an address while sessions come and go, what a reload of the static table changes, and whose
//! a flow is that was open meanwhile. The table is held against a plain model, and read while it is written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "sessions/ends.rs"]
mod ends;
#[path = "sessions/flows.rs"]
mod flows;
#[path = "sessions/holders.rs"]
mod holders;
#[path = "sessions/model.rs"]
mod model;
#[path = "sessions/while_written.rs"]
mod while_written;

use std::hash::RandomState;
use std::net::IpAddr;

use billing_export::{Session, SubscriberType};
use gateway::flow::session::{Block, Change, Event, Evidence, News, SessionSource, Sessions, Standing, What};
use ipnet::IpNet;

fn session(id: &str) -> Session {
    Session::new(SubscriberType::Account, id, &format!("account-{id}")).unwrap()
}

fn block(prefix: &str) -> Block {
    Block::from(prefix.parse::<IpNet>().unwrap())
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn table(held_max: usize) -> Sessions {
    Sessions::new(held_max, RandomState::new())
}

fn change(source: SessionSource, prefix: &str, event: Event) -> Change {
    Change { block: block(prefix), source, event }
}

fn bind(prefix: &str, id: &str) -> Change {
    change(SessionSource::Accounting, prefix, Event::Bind(session(id)))
}

fn release(prefix: &str) -> Change {
    change(SessionSource::Accounting, prefix, Event::Release)
}

fn rows(rows: &[(&str, &str)]) -> Vec<(Block, Session)> {
    rows.iter().map(|(prefix, id)| (block(prefix), session(id))).collect()
}

/// The id of who has an address; empty where nobody has.
fn holder(sessions: &Sessions, address: &str) -> String {
    sessions.find(ip(address)).map_or_else(String::new, |holding| holding.session.subscriber_id().to_owned())
}

/// The writes since one, each with its number and what it changed.
fn batches(sessions: &Sessions, seen: u64) -> Vec<(u64, What)> {
    match sessions.news(seen) {
        News::Batches(batches) => batches.iter().map(|batch| (batch.number, batch.what.clone())).collect(),
        News::TooMany(latest) => panic!("too many since {seen}, the latest is {latest}"),
    }
}

/// The standing of a flow from `address` after everything since `seen`, as a worker follows it.
fn follow(sessions: &Sessions, address: IpAddr, standing: &Standing, seen: u64) -> Standing {
    let find = || sessions.find(address);
    match sessions.news(seen) {
        News::TooMany(_) => standing.after(find(), Evidence::Since(seen)),
        News::Batches(batches) => {
            batches.iter().fold(standing.clone(), |standing, batch| match &batch.what {
                What::Everything => standing.after(find(), Evidence::Since(batch.number)),
                What::Blocks(blocks) => {
                    let own = blocks.iter().filter(|changed| changed.block.covers(address, None));
                    own.fold(standing, |standing, changed| {
                        standing.after(find(), Evidence::Changed(batch.number, changed))
                    })
                }
            })
        }
    }
}

//! Whose an address is, for whoever asks at the admin endpoint.

use std::net::IpAddr;

use billing_export::{Session, format_instant};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Status;
use crate::flow::session::SessionState;
use crate::flow::session::accounting::Nas;

/// The answer; what does not apply is null.
#[derive(Default, Serialize)]
struct Answer {
    address: String,
    port: Option<u16>,
    state: &'static str,
    subscriber_type: Option<&'static str>,
    subscriber_id: Option<String>,
    session_id: Option<String>,
    realm: Option<String>,
    nas: Option<String>,
    start_utc: Option<String>,
    heard_utc: Option<String>,
}

/// Whose an address is, or a port of it, as flows that begin now are counted.
pub(super) fn answer(status: &Status, address: IpAddr, port: Option<u16>) -> Value {
    let accounting = status.facts().accounting.clone();
    let nobody =
        Answer { address: address.to_canonical().to_string(), port, state: "nobody", ..Answer::default() };
    let table = status.sessions.find_at(address, port);
    let told = accounting.and_then(|accounting| accounting.find(address, port));
    // The table has the last word, the static rows among it.
    let told = told.filter(|told| table.as_ref().is_some_and(|held| held.session == told.session));
    let answer = match (told, table) {
        (Some(told), Some(row)) => Answer {
            realm: Some(told.realm.to_string()),
            nas: Some(server(&told.nas)),
            start_utc: Some(instant(told.start)),
            heard_utc: Some(instant(told.heard)),
            ..held(nobody, &row.session, row.state)
        },
        (None, Some(row)) => held(nobody, &row.session, row.state),
        (_, None) => nobody,
    };
    serde_json::to_value(answer).unwrap_or(Value::Null)
}

/// The answer for a session.
fn held(nobody: Answer, session: &Session, state: SessionState) -> Answer {
    Answer {
        state: match state {
            SessionState::Active => "active",
            SessionState::Suspect => "suspect",
            SessionState::Stale => "stale",
        },
        subscriber_type: Some(session.subscriber_type().label()),
        subscriber_id: Some(session.subscriber_id().to_owned()),
        session_id: Some(session.session_id().to_owned()),
        ..nobody
    }
}

/// An access server by what names it.
fn server(nas: &Nas) -> String {
    let identifier = nas.identifier().map(|identifier| identifier.escape_ascii().to_string());
    let names = [nas.v4().map(|v4| v4.to_string()), nas.v6().map(|v6| v6.to_string()), identifier];
    let names: Vec<String> = names.into_iter().flatten().collect();
    match nas.source() {
        Some(source) => source.to_string(),
        None => names.join(" "),
    }
}

/// Unix seconds as RFC 3339.
fn instant(seconds: u32) -> String {
    format_instant(Timestamp::from_second(seconds.into()).unwrap_or(Timestamp::UNIX_EPOCH))
}

//! What follows from a report: what to write to the disk, what to change in the table, what to count.

use std::sync::Arc;

use billing_export::Session;

use super::report::{Kind, Nas, Subscriber};
use super::spot::Spot;
use crate::flow::session::{Block, Change, SessionState};

/// What follows from a report, or from time passing. The caller commits [`Decision::rows`] first, then applies
/// [`Decision::changes`] to the table as one write.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What became of the report.
    pub outcome: Outcome,
    /// Whether its Event-Timestamp or Acct-Delay-Time was not believed.
    pub clock_doubt: bool,
    /// Blocks that changed hands between subscribers, and sessions that changed theirs.
    pub takeovers: Vec<Takeover>,
    /// Changes of the table.
    pub changes: Vec<Change>,
    /// What there is to know of each block that a session comes to by them.
    pub bound: Vec<Bound>,
    /// Sessions that ended.
    pub ended: Vec<Ended>,
    /// What the disk is to say.
    pub rows: Vec<RowChange>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied; of an unknown status there was nothing to apply.
    #[default]
    Applied,
    /// It is not newer than what is known.
    Old,
    /// A session that had ended goes on.
    Reopened,
    /// The session has no subscriber.
    NoSubscriber,
    /// The session has no address.
    NoAddress,
    /// There is no room.
    Full,
}

impl Outcome {
    /// The word of the metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Old => "old",
            Self::Reopened => "reopened",
            Self::NoSubscriber => "no_subscriber",
            Self::NoAddress => "no_address",
            Self::Full => "full",
        }
    }
}

/// How a subscriber lost a block, or a session its subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// To a session that started later.
    LaterStart,
    /// Two started in the same second.
    EqualStart,
    /// Another subscriber under the same session id.
    SubscriberChanged,
}

impl Takeover {
    /// The word of the metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LaterStart => "later_start",
            Self::EqualStart => "equal_start",
            Self::SubscriberChanged => "subscriber_changed",
        }
    }
}

/// A block to which a subscriber comes: what a flow needs that began before this was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The block.
    pub block: Block,
    /// Start of the session, in Unix seconds.
    pub start: u32,
    /// The event by which whoever had it before lost it, in Unix seconds; none where nobody is remembered.
    pub free_since: Option<u32>,
}

/// A session that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The session.
    pub session: Session,
    /// The event that ended it, in Unix seconds.
    pub at: u32,
    /// Whether it ended without a Stop, because it had lost its last block or nothing was heard of it.
    pub stop_lost: bool,
}

/// A change of what the disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The session is as told.
    Upsert(Row),
    /// The session with this key is forgotten.
    Delete(RowKey),
    /// What is known of an access server is as told.
    Server(ServerRow),
    /// Blocks that became free were forgotten for want of room; nobody who had one of them started later than this.
    Forgotten(u32),
}

/// What names a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The realm.
    pub realm: Arc<str>,
    /// The access server.
    pub nas: Nas,
    /// Acct-Session-Id.
    pub session: Arc<[u8]>,
}

/// All that is known of a session, to be kept on the disk. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What names it.
    pub key: RowKey,
    /// Whose it is.
    pub subscriber: Option<Subscriber>,
    /// Its start.
    pub start: u32,
    /// Its last event.
    pub event: u32,
    /// When it was last heard of.
    pub heard: u32,
    /// Seconds without news after which it is stale.
    pub silence: u32,
    /// By what it ended, and its event; none of one that lasts.
    pub end: Option<(End, u32)>,
    /// The state of what it holds.
    pub state: SessionState,
    /// Two packets of one second named two subscribers.
    pub unsure: bool,
    /// It had ports or an outside address.
    pub translated: bool,
    /// The inside address, of a translator's session.
    pub inside: Option<Spot>,
    /// Whether it is a translator's.
    pub is_nat: bool,
    /// What it named.
    pub spots: Vec<NamedSpot>,
}

/// What a session named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedSpot {
    /// How.
    pub kind: Kind,
    /// The block, or the ports.
    pub spot: Spot,
    /// 0, or another session had it, which started then, in Unix seconds: another's, or the one before under this id.
    pub lost: u32,
}

/// By what a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A Stop.
    Stopped,
    /// Accounting-On or -Off.
    Reset,
    /// The loss of its last block, or silence.
    Lost,
}

/// What is known of an access server beside its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    /// The realm.
    pub realm: Arc<str>,
    /// Its attributes.
    pub nas: Nas,
    /// The event of its latest Accounting-On or -Off with exactly these, in Unix seconds; 0: none.
    pub said: u32,
    /// No session of it that ended later than this was forgotten before its time, in Unix seconds; 0: none at all.
    pub forgotten: u32,
}

/// All that is to be known again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Sessions.
    pub rows: Vec<Row>,
    /// Access servers.
    pub servers: Vec<ServerRow>,
    /// See [`RowChange::Forgotten`].
    pub forgotten: u32,
}

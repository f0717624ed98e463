//! One flow's life: what it says it is called, whose it is, what it has carried, and where its bytes are counted.
//!
//! Bytes before the verdict are carried and pending; when the verdict latches they are counted where it says, and so is what
//! follows, until a change of list, subscribers or name has the flow judged again: then what was carried before stays where it
//! was counted. Nothing here knows who carries the bytes: no socket, clock or lock.
//!
//! ```text
//!   Observation ──►  Engine  ──► Effect          what to do about it: Carrier
//!                    ▲    ▲
//!           Terms ───┘    └─── Counter           what judgements rest on; what passed
//! ```

mod account;
mod attribution;
mod claim;
mod counter;
mod effect;
mod observation;
mod start;
mod terms;
mod verdict;

use std::net::IpAddr;

use allowlist::Transport;
use billing_export::{Reason, Volume};

use self::account::{Allowed, Owed, Ruling};
pub use self::claim::{Claim, News, ProtocolLabel, has_long_header};
pub use self::counter::{Counter, Reading, Unknowable};
pub use self::effect::{Carrier, Decided, Effect};
pub use self::observation::{LookedUp, Observation};
pub use self::start::{Destination, HTTPS_PORT, Start};
pub use self::terms::{Allowances, Evidence, Exemption, Terms, World};
use crate::flow::allowance::Share;
use crate::flow::decide::Vouched;
use crate::flow::mark::Mark;
pub use crate::flow::session::Standing;
use crate::flow::session::{self, Holding, SubscriberKey};
use crate::flow::tally::Tally;

/// How far a flow's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// More may become known.
    Open,
    /// Nobody waits for more: the process ends.
    LastCall,
    /// It has ended.
    Ended,
}

/// One flow, whoever carries it.
pub struct Engine {
    /// What is fixed of it.
    start: Start,
    /// What it says it is called.
    claim: Claim,
    /// Whose flow it is.
    standing: Standing,
    /// Steered: where the gateway found the name.
    dialled: Option<IpAddr>,
    /// Whether the address may carry the name, as far as this flow found out.
    vouched: Vouched,
    /// No verdict is taken yet: steered mode waits for its upstream.
    is_held: bool,
    /// Nobody has shown yet that he receives what the server sends: UDP, and TCP whose handshake is the server's own. Nothing is
    /// exempt before that, nor charged to anybody. A source address is free to forge, and what nobody answers is no visit.
    is_unanswered: bool,
    /// What was read may be another's than what the server reads, for that has not said that it has it: nothing is exempt.
    is_unsure: bool,
    /// Whether more may become known.
    life: Life,
    /// Bytes carried and reported.
    tally: Tally,
    /// The most bytes that a record was told may be missing in it.
    unknowable: Unknowable,
    /// Where the bytes are counted.
    ruling: Ruling,
    /// Accounts before this one, for bytes that were sent under them and are not known to have left.
    owed: Box<[Owed]>,
    /// It is exempt at an address that is known to serve other sites too: no gateway can tell them apart (trap T24).
    is_at_shared_address: bool,
    /// While it is exempt and that is capped: how much is left.
    allowed: Option<Box<Allowed>>,
    /// What the flow's packets carry, by where its bytes are counted, or will be as far as can be foreseen.
    mark: Mark,
    /// Its share in an allowance while it is marked before its verdict.
    foreseen: Option<Box<Share>>,
}

impl Engine {
    /// A flow of which nothing has been carried. Steered ones are held until it is known where they go; UDP waits for an answer.
    pub fn new(start: Start, standing: Standing, claim: Claim) -> Self {
        let (vouched, is_held) = match start.place {
            Destination::Steered { .. } => (Vouched::No, true),
            Destination::Original(_) => (Vouched::NotYet, false),
        };
        let (is_unanswered, is_datagrams) = (start.waits_for_answer, start.transport == Transport::Udp);
        Self {
            start,
            claim,
            standing,
            dialled: None,
            vouched,
            is_held,
            is_unanswered,
            is_unsure: is_unanswered && !is_datagrams,
            life: Life::Open,
            tally: Tally::default(),
            unknowable: Unknowable::default(),
            ruling: Ruling::Pending,
            owed: Box::default(),
            is_at_shared_address: false,
            allowed: None,
            mark: Mark::NONE,
            foreseen: None,
        }
    }

    /// Takes what happened, and has `carrier` do what follows from it. `world` is asked where the flow is judged.
    pub fn observe(&mut self, observation: Observation<'_>, world: &impl World, carrier: &mut impl Carrier) {
        match observation {
            Observation::Unread => self.judge(world, carrier),
            Observation::Bytes(bytes) => {
                let news = self.claim.observe(bytes);
                self.follow(news, world, carrier);
            }
            Observation::Finished => self.finish(world, carrier),
            Observation::Contradicted(reason) => self.contradict(reason, world, carrier),
            Observation::Deadline => self.deadline(world, carrier),
            Observation::Placed { vouched, dialled } => self.place(vouched, dialled, world, carrier),
            Observation::Answered => self.answered(world, carrier),
            Observation::Sure => self.sure(world, carrier),
            Observation::Continues(identity) => self.claim.inherit(identity),
            Observation::LookedUp(outcome) => self.looked_up(outcome, world, carrier),
            Observation::Renewed => self.renewed(world, carrier),
            Observation::Adopted(holding) => self.adopt(holding, world, carrier),
            Observation::Sessions(holding, evidence) => self.stand(holding, evidence, world, carrier),
            Observation::Dated => self.judge_again(world, carrier),
            Observation::Moved(bytes) => self.spend(bytes, carrier),
            Observation::Tick => self.count(carrier),
            Observation::Spent => self.cap(carrier),
            Observation::Overdue => self.disown(world, carrier),
            Observation::Orphaned => self.orphan(carrier),
            Observation::Unwatched => self.give_up_moving(carrier),
            Observation::LastCall => self.last_call(world, carrier),
            Observation::Ended => self.ended(world, carrier),
        }
    }

    /// Does what news of the name ask for.
    fn follow(&mut self, news: News, world: &impl World, carrier: &mut impl Carrier) {
        match news {
            News::Verdict => self.judge(world, carrier),
            News::Name => self.foresee(world, carrier),
            News::None => {}
        }
    }

    /// See [`Observation::Finished`].
    fn finish(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        let news = self.claim.finish();
        self.follow(news, world, carrier);
    }

    /// See [`Observation::Contradicted`]: it is charged from here on, and what was pending with it.
    fn contradict(&mut self, reason: Reason, world: &impl World, carrier: &mut impl Carrier) {
        self.is_unsure = false;
        self.claim.stop(reason);
        self.judge(world, carrier);
    }

    /// See [`Observation::Deadline`]: it is judged by what is known. The watch for a second hello goes on.
    fn deadline(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.is_unsure {
            self.contradict(Reason::Timeout, world, carrier);
        } else if self.claim.is_observed() {
            self.claim.deadline();
            self.judge(world, carrier);
        }
    }

    /// See [`Observation::Placed`]: its verdict may latch.
    fn place(
        &mut self,
        vouched: Vouched,
        dialled: Option<IpAddr>,
        world: &impl World,
        carrier: &mut impl Carrier,
    ) {
        self.vouched = vouched;
        self.dialled = dialled;
        self.is_held = false;
        if self.start.is_over_limit && dialled.is_some() {
            // The name said where to go, and no more is asked of it.
            self.claim.stop(Reason::Overload);
        }
        if self.claim.is_readable() {
            self.judge(world, carrier);
        } else {
            self.foresee(world, carrier);
        }
    }

    /// See [`Observation::Answered`]: its verdict may latch.
    fn answered(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if std::mem::replace(&mut self.is_unanswered, false) && self.claim.is_readable() {
            self.judge(world, carrier);
        }
    }

    /// See [`Observation::Sure`]: its verdict may latch.
    fn sure(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if std::mem::replace(&mut self.is_unsure, false) && self.claim.is_readable() {
            self.judge(world, carrier);
        }
    }

    /// See [`Observation::LookedUp`].
    fn looked_up(&mut self, outcome: LookedUp, world: &impl World, carrier: &mut impl Carrier) {
        self.vouched = match outcome {
            LookedUp::Found => Vouched::Yes,
            LookedUp::NotFound | LookedUp::NotAsked => Vouched::No,
        };
        self.wait_no_longer();
        self.judge(world, carrier);
        self.let_go_if_ended(carrier);
    }

    /// See [`Observation::Renewed`] (traps T32, B24).
    fn renewed(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.vouched == Vouched::No && matches!(self.start.place, Destination::Original(_)) {
            self.vouched = Vouched::NotYet;
        }
        self.judge_again(world, carrier);
    }

    /// See [`Observation::Sessions`] (trap B19): it is judged again where it is another's, or nobody's.
    fn stand(
        &mut self,
        holding: Option<Holding>,
        evidence: session::Evidence<'_>,
        world: &impl World,
        carrier: &mut impl Carrier,
    ) {
        let standing = self.standing.after(holding, evidence);
        if standing != self.standing {
            self.standing = standing;
            self.judge_again(world, carrier);
        }
    }

    /// See [`Observation::Adopted`].
    fn adopt(&mut self, holding: Holding, world: &impl World, carrier: &mut impl Carrier) {
        if self.is_of_nobody_known() {
            self.leave_to_nobody(carrier);
            self.standing = Standing::at_start(Some(holding));
            self.judge_again(world, carrier);
        }
    }

    /// Whether no session had its address when it began.
    pub fn is_of_nobody_known(&self) -> bool {
        self.standing == Standing::Unknown
    }

    /// Judges it anew where it was judged, and else what its mark was foreseen by.
    fn judge_again(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.ruling.is_latched() {
            carrier.carry_out(Effect::JudgedAgain);
            self.judge(world, carrier);
        } else {
            self.foresee(world, carrier);
        }
    }

    /// See [`Observation::LastCall`]: it is judged by what is known at the moment.
    fn last_call(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        if self.life == Life::Open {
            self.life = Life::LastCall;
        }
        if self.vouched == Vouched::NotYet {
            self.vouched = Vouched::No;
        }
        self.wait_no_longer();
        self.conclude(world, carrier);
    }

    /// See [`Observation::Ended`]: the verdict on what is known, unless a look-up is on its way.
    fn ended(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        self.life = Life::Ended;
        self.conclude(world, carrier);
    }

    /// No more will be known of it.
    fn conclude(&mut self, world: &impl World, carrier: &mut impl Carrier) {
        self.is_held = false;
        self.finish(world, carrier);
        if std::mem::replace(&mut self.is_unsure, false) {
            self.claim.stop(Reason::Undecided);
        }
        // A name may be known, and the watch for a second one still on.
        self.judge_if_pending(world, carrier);
        self.let_go_if_ended(carrier);
    }

    /// No look-up is waited for.
    fn wait_no_longer(&mut self) {
        if matches!(self.ruling, Ruling::LookingUp) {
            self.ruling = Ruling::Pending;
        }
    }

    /// Lets go of a flow that has ended and whose bytes have their account. They are counted at once, so that it does not outlive
    /// its sockets while nobody asks for reports.
    fn let_go_if_ended(&mut self, carrier: &mut impl Carrier) {
        if self.life == Life::Ended {
            self.count(carrier);
            if self.ruling.is_latched() {
                carrier.carry_out(Effect::LetGo);
            }
        }
    }

    /// What is fixed of it.
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// What it says it is called.
    pub const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Who the flow counts for.
    pub fn subscriber(&self) -> SubscriberKey {
        self.standing.key(self.start.network)
    }

    /// The port that rules are judged by.
    pub const fn service_port(&self) -> u16 {
        self.start.service_port(self.claim.protocol())
    }

    /// Whether the address may carry the name, as far as this flow found out.
    pub const fn vouched(&self) -> Vouched {
        self.vouched
    }

    /// What the flow's packets carry.
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether nobody has shown yet that he receives what the server sends.
    pub const fn is_unanswered(&self) -> bool {
        self.is_unanswered
    }

    /// Whether its bytes have an account.
    pub const fn is_decided(&self) -> bool {
        self.ruling.is_latched()
    }

    /// Whether its bytes are exempt.
    pub const fn is_exempt(&self) -> bool {
        self.ruling.is_exempt()
    }

    /// While what it may have exempt has a limit: bytes that are left of it, with what is on the move.
    pub fn left(&self) -> Option<u64> {
        self.allowed.as_ref().map(|allowed| allowed.share.left())
    }

    /// Whether no more can become known.
    const fn is_ending(&self) -> bool {
        match self.life {
            Life::Open => false,
            Life::LastCall | Life::Ended => true,
        }
    }

    /// Whether what it may have exempt has a limit.
    pub const fn is_limited(&self) -> bool {
        self.allowed.is_some()
    }

    /// Whether nothing is left of what it may have exempt.
    pub fn is_spent(&self) -> bool {
        self.allowed.as_ref().is_some_and(|allowed| !allowed.share.has_room())
    }

    /// Bytes carried so far.
    pub const fn carried(&self) -> Volume {
        self.tally.carried()
    }

    /// Bytes carried that no account has.
    pub fn pending(&self) -> Volume {
        self.tally.unreported()
    }
}

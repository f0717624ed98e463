//! Questions to the ledger. Nothing is written, so a role that may only read is enough.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use postgres::Row;

use super::super::allowance::Limit;
use super::super::config;
use super::super::reconcile::{Claim, Counted};
use super::error::Fault;
use super::{Ledger, migrate};
use crate::class::{Class, Reason};
use crate::statement::{Adjusted, Allowance, Ambiguous, Charged, Day, Exempt, List, Statement};
use crate::subscriber::SubscriberType;
use crate::totals::{By, Sum};
use crate::unit::Disposition;

/// The types that a subscriber can have.
const KINDS: [SubscriberType; 3] = [SubscriberType::Msisdn, SubscriberType::Imsi, SubscriberType::Account];

/// A sum of the ledger, which PostgreSQL keeps with up to 38 digits.
fn sum(row: &Row, column: &str) -> Result<i128, Fault> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| Fault::Away(format!("{column}: found {text:?}, wanted a whole number")))
}

/// A word of a vocabulary, in its one form.
fn word<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row, column: &str) -> Result<T, Fault> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: T::Err| Fault::Away(format!("{error}: a later version loaded it")))
}

impl Ledger {
    /// Connects for questions: the tables must be there, and ours.
    pub(in crate::collect) fn open_to_ask(
        config: &config::Ledger,
        password: Option<&str>,
    ) -> Result<Ledger, Fault> {
        let mut ledger = Ledger::reach(config, password)?;
        migrate::check(&mut ledger.client, config, &ledger.schema)?;
        Ok(ledger)
    }

    /// A subscriber's day.
    pub(in crate::collect) fn statement(
        &mut self,
        day: &Day,
        zone: &str,
        id: &str,
        kind: Option<SubscriberType>,
        limits: &[Limit],
    ) -> Result<Result<Option<Statement>, Ambiguous>, Fault> {
        self.at_once(|ledger| ledger.statement_now(day, zone, id, kind, limits))
    }

    /// The same, of whatever is there by each question.
    fn statement_now(
        &mut self,
        day: &Day,
        zone: &str,
        id: &str,
        kind: Option<SubscriberType>,
        limits: &[Limit],
    ) -> Result<Result<Option<Statement>, Ambiguous>, Fault> {
        let date = day.date().to_string();
        let asked: Vec<&str> = match &kind {
            Some(kind) => vec![kind.label()],
            None => KINDS.iter().map(|kind| kind.label()).collect(),
        };
        let text = format!(
            "SELECT subscriber_type, class, service_id, reason, disposition, up_bytes::text, down_bytes::text
             FROM {}.total WHERE local_day = $1::text::date AND subscriber_type = ANY ($2) AND subscriber_id = $3
             ORDER BY service_id, disposition, reason",
            self.schema
        );
        let rows = self.client.query(&text, &[&date, &asked, &id])?;
        let mut kinds = Vec::new();
        for row in &rows {
            kinds.push(word::<SubscriberType>(row, "subscriber_type")?);
        }
        kinds.sort_unstable();
        kinds.dedup();
        let kind = match kinds.as_slice() {
            [] => return Ok(Ok(None)),
            [kind] => *kind,
            _ => return Ok(Err(Ambiguous(kinds))),
        };
        let mut statement = Statement {
            subscriber_type: kind.label(),
            subscriber_id: id.to_owned(),
            day: date,
            zone: zone.to_owned(),
            complete: self.is_complete((day.start(), day.end()), (day.date(), day.date()))?,
            exempt: Vec::new(),
            charged: Vec::new(),
            adjusted: self.adjusted(day, kind, id)?,
            allowances: Vec::new(),
            lists: self.lists(day, kind, id)?,
        };
        for row in &rows {
            add(&mut statement, row)?;
        }
        for limit in limits {
            statement.allowances.push(self.allowance(day, kind, id, limit)?);
        }
        Ok(Ok(Some(statement)))
    }

    /// Corrections of a subscriber's day that are in its sums.
    fn adjusted(&mut self, day: &Day, kind: SubscriberType, id: &str) -> Result<Vec<Adjusted>, Fault> {
        let text = format!(
            "SELECT node_id, epoch, record_seq, up_bytes::text, down_bytes::text FROM {}.adjustment
             WHERE state = 'applied' AND local_day = $1::text::date AND subscriber_type = $2 AND subscriber_id = $3
             ORDER BY node_id, epoch, record_seq",
            self.schema
        );
        let rows = self.client.query(&text, &[&day.date().to_string(), &kind.label(), &id])?;
        let adjusted = rows.iter().map(|row| {
            let (epoch, seq): (i64, i64) = (row.try_get("epoch")?, row.try_get("record_seq")?);
            Ok(Adjusted {
                node_id: row.try_get("node_id")?,
                epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
                record_seq: seq.unsigned_abs(),
                up_bytes: sum(row, "up_bytes")?,
                down_bytes: sum(row, "down_bytes")?,
            })
        });
        adjusted.collect()
    }

    /// Lists under which a subscriber's bytes of a day were judged; none once the records of the day were dropped.
    fn lists(&mut self, day: &Day, kind: SubscriberType, id: &str) -> Result<Vec<List>, Fault> {
        let text = format!(
            "SELECT list_id, array_agg(DISTINCT list_serial ORDER BY list_serial) AS serials FROM {}.record
             WHERE local_day = $1::text::date AND subscriber_type = $2 AND subscriber_id = $3 AND list_id <> ''
                 AND list_serial IS NOT NULL
             GROUP BY list_id ORDER BY list_id",
            self.schema
        );
        let rows = self.client.query(&text, &[&day.date().to_string(), &kind.label(), &id])?;
        let lists = rows.iter().map(|row| {
            let serials: Vec<i64> = row.try_get("serials")?;
            let serials = serials.iter().map(i64::to_string).collect();
            Ok(List { list_id: row.try_get("list_id")?, serials })
        });
        lists.collect()
    }

    /// What a subscriber has of a limit.
    fn allowance(
        &mut self,
        day: &Day,
        kind: SubscriberType,
        id: &str,
        limit: &Limit,
    ) -> Result<Allowance, Fault> {
        let first = if limit.monthly { day.date().first_of_month() } else { day.date() };
        let text = format!(
            "SELECT coalesce(sum(up_bytes + down_bytes), 0)::text AS used FROM {}.total
             WHERE local_day BETWEEN $1::text::date AND $2::text::date AND subscriber_type = $3 AND subscriber_id = $4
                 AND class = 'exempt' AND ($5::text[] IS NULL OR service_id = ANY ($5))",
            self.schema
        );
        let last = if limit.monthly { day.date().last_of_month() } else { day.date() };
        let (first_text, last_text) = (first.to_string(), last.to_string());
        let row =
            self.client.query_one(&text, &[&first_text, &last_text, &kind.label(), &id, &limit.services])?;
        let used = sum(&row, "used")?;
        let word = if limit.monthly { "month" } else { "day" };
        Ok(Allowance {
            allowance: limit.allowance.clone(),
            span: format!("{word} {first}"),
            limit: limit.bytes,
            used,
            left: i128::from(limit.bytes).saturating_sub(used).max(0),
        })
    }

    /// Whether the records of every node reach to `end` with no file missing before, no gap record speaks of the time from `start` to
    /// there, and the records of these days are still here.
    fn is_complete(
        &mut self,
        (start, end): (Timestamp, Timestamp),
        days: (Date, Date),
    ) -> Result<bool, Fault> {
        let text = format!(
            "SELECT (SELECT coalesce(bool_and(end_utc IS NOT NULL AND end_utc >= $2::text::timestamptz), false)
                     FROM {schema}.node)
                 AND NOT EXISTS (SELECT 1 FROM {schema}.link JOIN {schema}.node USING (node_id)
                     WHERE link.file_seq > node.file_seq AND link.end_utc <= $2::text::timestamptz)
                 AND NOT EXISTS (SELECT 1 FROM {schema}.setting WHERE dropped_before > $3::text::date)
                 AND NOT EXISTS (SELECT 1 FROM {schema}.record WHERE kind = 'gap'
                     AND local_day BETWEEN $3::text::date - 1 AND $4::text::date
                     AND start_utc < $2::text::timestamptz AND end_utc >= $1::text::timestamptz)
                 AND NOT EXISTS (SELECT 1 FROM {schema}.link JOIN {schema}.record ON record.node_id = link.node_id
                         AND record.epoch = link.epoch AND record_seq = first_seq AND kind = 'gap'
                     WHERE begins_with_gap AND link.end_utc >= $1::text::timestamptz
                         AND start_utc < $2::text::timestamptz)",
            schema = self.schema
        );
        let (first, last) = (days.0.to_string(), days.1.to_string());
        let (start, end) = (start.to_string(), end.to_string());
        let row = self.client.query_one(&text, &[&start, &end, &first, &last])?;
        Ok(row.try_get(0)?)
    }

    /// Asks everything of one moment: what is loaded meanwhile is in no part of the answer, or would be in all.
    fn at_once<T>(&mut self, ask: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> Result<T, Fault> {
        self.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let answer = ask(self);
        self.client.batch_execute("ROLLBACK")?;
        answer
    }

    /// Sums of all totals by a key and the class.
    pub(in crate::collect) fn sums(&mut self, by: By) -> Result<BTreeMap<(String, Class), Sum>, Fault> {
        let key = match by {
            By::Class => "''",
            By::Subscriber => {
                "CASE WHEN subscriber_id = '' THEN subscriber_type ELSE subscriber_type || ':' || subscriber_id END"
            }
            By::Service => "service_id",
            By::Day => "local_day::text",
            By::Reason => "reason",
        };
        let text = format!(
            "SELECT {key} AS key, class, sum(records)::bigint AS records, sum(up_bytes)::text AS up_bytes,
                sum(down_bytes)::text AS down_bytes FROM {}.total GROUP BY 1, 2",
            self.schema
        );
        let mut sums = BTreeMap::new();
        for row in self.client.query(&text, &[])? {
            let records: i64 = row.try_get("records")?;
            let (up_bytes, down_bytes) = (sum(&row, "up_bytes")?, sum(&row, "down_bytes")?);
            let one = Sum { records: records.unsigned_abs(), up_bytes, down_bytes };
            sums.insert((row.try_get("key")?, word(&row, "class")?), one);
        }
        Ok(sums)
    }

    /// What was counted for a claim: records that start within it, with the corrections of these.
    pub(in crate::collect) fn counted(
        &mut self,
        claim: &Claim,
        days: (Date, Date),
    ) -> Result<Counted, Fault> {
        self.at_once(|ledger| ledger.counted_now(claim, days))
    }

    /// The same, of whatever is there by each question.
    fn counted_now(&mut self, claim: &Claim, days: (Date, Date)) -> Result<Counted, Fault> {
        let text = format!(
            "SELECT coalesce(sum(up_bytes) FILTER (WHERE class = 'exempt'), 0)::text AS exempt_up,
                coalesce(sum(down_bytes) FILTER (WHERE class = 'exempt'), 0)::text AS exempt_down,
                coalesce(sum(up_bytes) FILTER (WHERE class <> 'exempt'), 0)::text AS charged_up,
                coalesce(sum(down_bytes) FILTER (WHERE class <> 'exempt'), 0)::text AS charged_down,
                coalesce(bool_or(byte_basis = 'payload'), false) AS is_payload,
                min(start_utc) FILTER (WHERE kind = 'usage')
                    <= $5::text::timestamptz + max(end_utc - start_utc) FILTER (WHERE kind = 'usage')
                AND max(end_utc) FILTER (WHERE kind = 'usage')
                    >= $6::text::timestamptz - max(end_utc - start_utc) FILTER (WHERE kind = 'usage') AS is_seen
             FROM {schema}.record r
             WHERE local_day BETWEEN $1::text::date AND $2::text::date AND subscriber_type = $3 AND subscriber_id = $4
                 AND start_utc >= $5::text::timestamptz AND start_utc < $6::text::timestamptz
                 AND (kind = 'usage' OR kind = 'adjust' AND EXISTS (SELECT 1 FROM {schema}.adjustment a
                     WHERE a.node_id = r.node_id AND a.epoch = r.epoch AND a.record_seq = r.record_seq AND state = 'applied'))",
            schema = self.schema
        );
        let (start, end) = (claim.start.to_string(), claim.end.to_string());
        let (first, last) = (days.0.to_string(), days.1.to_string());
        let (kind, id) = (claim.kind.label(), &claim.subscriber_id);
        // Records reach from the begin to the end but for a period at each, in which a session may begin or end.
        let row = self.client.query_one(&text, &[&first, &last, &kind, &id, &start, &end])?;
        let is_seen: Option<bool> = row.try_get("is_seen")?;
        Ok(Counted {
            exempt: (sum(&row, "exempt_up")?, sum(&row, "exempt_down")?),
            charged: (sum(&row, "charged_up")?, sum(&row, "charged_down")?),
            is_payload: row.try_get("is_payload")?,
            is_seen: is_seen.unwrap_or(false),
            is_complete: self.is_complete((claim.start, claim.end), days)?,
        })
    }
}

/// Adds a total to a statement.
fn add(statement: &mut Statement, row: &Row) -> Result<(), Fault> {
    let (up_bytes, down_bytes) = (sum(row, "up_bytes")?, sum(row, "down_bytes")?);
    let class: String = row.try_get("class")?;
    if class == "exempt" {
        let disposition = word::<Disposition>(row, "disposition")?.label();
        let service_id = row.try_get("service_id")?;
        statement.exempt.push(Exempt { service_id, disposition, up_bytes, down_bytes });
    } else {
        let reason = word::<Reason>(row, "reason")?.label();
        match statement.charged.iter_mut().find(|one| one.reason == reason) {
            Some(one) => {
                one.up_bytes = one.up_bytes.saturating_add(up_bytes);
                one.down_bytes = one.down_bytes.saturating_add(down_bytes);
            }
            None => statement.charged.push(Charged { reason, up_bytes, down_bytes }),
        }
        statement.charged.sort_by_key(|one| one.reason);
    }
    Ok(())
}

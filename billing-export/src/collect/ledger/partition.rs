//! Day partitions of `record`: made when a day has its first record, dropped when they are older than the retention.

use std::collections::BTreeSet;

use jiff::ToSpan as _;
use jiff::civil::Date;
use postgres::{Client, GenericClient};

use super::error::Fault;
use super::migrate::lock;

/// What the name of a partition begins with; the day follows as YYYYMMDD.
const PREFIX: &str = "record_";

/// Name of the partition of a day.
fn name(day: Date) -> String {
    format!("{PREFIX}{}", day.strftime("%Y%m%d"))
}

/// The days that have a partition.
fn days(client: &mut impl GenericClient, schema: &str) -> Result<BTreeSet<Date>, Fault> {
    let text = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::text::regclass";
    let mut days = BTreeSet::new();
    for row in client.query(text, &[&format!("{schema}.record")])? {
        let found: String = row.try_get(0)?;
        days.extend(found.strip_prefix(PREFIX).and_then(|day| Date::strptime("%Y%m%d", day).ok()));
    }
    Ok(days)
}

/// Makes the partitions that are not there. They are attached (`SHARE UPDATE EXCLUSIVE`), so that loading goes on beside.
pub(super) fn ensure(client: &mut Client, schema: &str, wanted: &BTreeSet<Date>) -> Result<(), Fault> {
    if wanted.is_subset(&days(client, schema)?) {
        return Ok(());
    }
    let mut work = client.transaction()?;
    lock(&mut work, schema)?;
    let there = days(&mut work, schema)?;
    for day in wanted.difference(&there) {
        let Ok(next) = day.checked_add(1.day()) else {
            return Err(Fault::Config(format!(
                "found records of {day}, the last day there is: the clock of a gateway is wrong"
            )));
        };
        let name = name(*day);
        work.batch_execute(&format!(
            "CREATE TABLE {schema}.{name} (LIKE {schema}.record INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
             ALTER TABLE {schema}.record ATTACH PARTITION {schema}.{name} FOR VALUES FROM ('{day}') TO ('{next}');"
        ))?;
    }
    work.commit()?;
    Ok(())
}

/// Drops the partitions older than this many days, counted from `today` or from the newest day there is, whichever is earlier:
/// a clock that was set ahead drops nothing that it should not. Returns the days dropped.
pub(super) fn drop_old(
    client: &mut Client,
    schema: &str,
    today: Date,
    retention_days: u32,
) -> Result<Vec<Date>, Fault> {
    let there = days(client, schema)?;
    let Some(newest) = there.last().copied() else { return Ok(Vec::new()) };
    let Ok(first_kept) = today.min(newest).checked_sub(i64::from(retention_days).days()) else {
        return Ok(Vec::new());
    };
    let old: Vec<Date> = there.range(..first_kept).copied().collect();
    for day in &old {
        let mut work = client.transaction()?;
        lock(&mut work, schema)?;
        let next = day.checked_add(1.day()).unwrap_or(*day).to_string();
        work.execute(
            &format!("UPDATE {schema}.setting SET dropped_before = greatest(dropped_before, $1::text::date)"),
            &[&next],
        )?;
        work.batch_execute(&format!("DROP TABLE IF EXISTS {schema}.{}", name(*day)))?;
        work.commit()?;
    }
    Ok(old)
}

//! Makes the tables of a ledger ours, or says why they are not.

use postgres::{Client, Transaction};

use super::super::config;
use super::error::Fault;
use super::schema::MIGRATIONS;

/// First half of the key of the advisory lock under which tables and partitions are made; the second is of the schema's name.
pub(super) const LOCK_CLASS: i32 = 0x7a72_6777;

/// Applies the steps that the ledger has not had, in one transaction that excludes other collectors. `schema` is in quotes.
///
/// # Errors
/// A newer ledger, another zone, an encoding that cannot hold every name; or the ledger's own word.
pub(super) fn migrate(client: &mut Client, config: &config::Ledger, schema: &str) -> Result<(), Fault> {
    let zone = &config.zone_name;
    let encoding: String = client.query_one("SHOW server_encoding", &[])?.try_get(0)?;
    if !["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        return Err(Fault::Config(format!(
            "ledger: found a database in {encoding}, wanted UTF8: names of subscribers are in any writing. Create it with ENCODING 'UTF8'"
        )));
    }
    let mut work = client.transaction()?;
    lock(&mut work, schema)?;
    let known = work.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&config.schema])?;
    if known.is_none() {
        work.batch_execute(&format!("CREATE SCHEMA {schema}"))?;
    }
    let table = format!("{schema}.migration");
    let known: Option<String> = work.query_one("SELECT to_regclass($1)::text", &[&table])?.try_get(0)?;
    if known.is_none() {
        work.batch_execute(&format!(
            "CREATE TABLE {table} (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        ))?;
    }
    let version: i32 =
        work.query_one(&format!("SELECT coalesce(max(number), 0) FROM {table}"), &[])?.try_get(0)?;
    let ours = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version > ours {
        return Err(Fault::Config(format!(
            "ledger: found tables of version {version} in schema {schema}, wanted at most {ours}: a later version of \
             billing-export made them; run that version, or a later one"
        )));
    }
    for (number, step) in (1_i32..).zip(MIGRATIONS) {
        if number > version {
            work.batch_execute(&step.replace("{schema}", schema))?;
            work.execute(&format!("INSERT INTO {table} (number) VALUES ($1)"), &[&number])?;
        }
    }
    work.execute(
        &format!("INSERT INTO {schema}.setting (zone) VALUES ($1) ON CONFLICT DO NOTHING"),
        &[&zone],
    )?;
    let found: String = work.query_one(&format!("SELECT zone FROM {schema}.setting"), &[])?.try_get(0)?;
    if found != *zone {
        return Err(other_zone(zone, &found, schema));
    }
    work.commit()?;
    Ok(())
}

/// Refuses a ledger whose tables are not there, not of this version, or of another zone.
///
/// # Errors
/// The ledger's own word, too.
pub(super) fn check(client: &mut Client, config: &config::Ledger, schema: &str) -> Result<(), Fault> {
    let table = format!("{schema}.migration");
    let known: Option<String> = client.query_one("SELECT to_regclass($1)::text", &[&table])?.try_get(0)?;
    if known.is_none() {
        return Err(Fault::Config(format!(
            "ledger: found no tables in schema {schema}, wanted those of a ledger: run `billing-export collect` first"
        )));
    }
    let version: i32 =
        client.query_one(&format!("SELECT coalesce(max(number), 0) FROM {table}"), &[])?.try_get(0)?;
    let ours = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version != ours {
        return Err(Fault::Config(format!(
            "ledger: found tables of version {version} in schema {schema}, wanted {ours}: ask with the version of \
             billing-export that collects"
        )));
    }
    let found: String = client.query_one(&format!("SELECT zone FROM {schema}.setting"), &[])?.try_get(0)?;
    if found == config.zone_name { Ok(()) } else { Err(other_zone(&config.zone_name, &found, schema)) }
}

/// The fault of a configuration whose days are not those of the ledger.
fn other_zone(zone: &str, found: &str, schema: &str) -> Fault {
    Fault::Config(format!(
        "ledger.zone: found {zone:?}, wanted {found:?}, in which the days of schema {schema} were counted from the first run \
         on: correct the zone, or take another schema and load the files again"
    ))
}

/// Waits for other collectors that make tables or partitions of this schema; until the end of the transaction.
pub(super) fn lock(work: &mut Transaction<'_>, schema: &str) -> Result<(), Fault> {
    work.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&LOCK_CLASS, &schema])?;
    Ok(())
}

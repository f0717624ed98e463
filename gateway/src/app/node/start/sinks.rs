//! `[[sink]]` as the export task takes it: what is agreed with the receivers, in billing's own words.

use std::path::PathBuf;

use billing_export::tdf::{self, Classes, Layout, Profile};
use config::Config;
use config::sink::{Begin, Form, HeaderLayout, Tdf};
use jiff::tz::TimeZone;

use crate::app::export::orders::{SinkForm, SinkPlan};

/// A key of the configuration and what is wrong with it.
type Fault = (String, String);

/// Every sink of the configuration.
///
/// # Errors
/// The faults of all: time zones that the system's database does not have.
pub fn plans(config: &Config) -> Result<Vec<SinkPlan>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut plans = Vec::new();
    for (number, sink) in config.sinks.iter().enumerate() {
        let form = match &sink.form {
            Form::Usage => SinkForm::Usage,
            Form::Tdf(tdf) => match profile(tdf) {
                Ok(profile) => SinkForm::Tdf(Box::new(profile)),
                Err((key, problem)) => {
                    faults.push((format!("sink[{number}].{key}"), problem));
                    continue;
                }
            },
        };
        let config::Sink { id, from, dir, staging_dir, .. } = sink.clone();
        plans.push(SinkPlan { id, from_oldest: from == Begin::Oldest, dir, staging_dir, form });
    }
    if faults.is_empty() { Ok(plans) } else { Err(faults) }
}

/// Folders of all sinks with their keys, pickup and staging folder of each.
pub fn folders(config: &Config) -> impl Iterator<Item = [(String, &PathBuf); 2]> {
    config.sinks.iter().enumerate().map(|(number, sink)| {
        [
            (format!("sink[{number}].dir"), &sink.dir),
            (format!("sink[{number}].staging_dir"), &sink.staging_dir),
        ]
    })
}

/// What is agreed with a receiver of charging records; the key that is wrong, and how.
fn profile(stated: &Tdf) -> Result<Profile, (&'static str, String)> {
    let told = |error: tdf::ProfileError| (error.key, error.to_string());
    let zone = TimeZone::get(&stated.zone).map_err(|_| {
        let problem = format!(
            "found \"{}\", which the time zone database does not have; wanted one of it, such as \"Asia/Almaty\"; `timedatectl list-timezones` lists them",
            stated.zone
        );
        ("zone", problem)
    })?;
    Ok(Profile {
        layout: match stated.header {
            HeaderLayout::Octets54 => Layout::Octets54,
            HeaderLayout::Octets52 => Layout::Octets52,
        },
        release: tdf::release(stated.release, stated.version).map_err(told)?,
        zone,
        node_name: stated.node_name.parse().map_err(told)?,
        address: stated.address,
        pgw_address: stated.pgw_address,
        classes: Classes { exempt: stated.exempt, charged: stated.charged },
        msisdn_nature: stated.msisdn_nature,
        service_identifiers: stated.service_identifiers.clone(),
        sponsor: stated.sponsor.as_deref().map(str::parse).transpose().map_err(told)?,
        extension_oid: stated.extension_oid.parse().map_err(told)?,
    })
}

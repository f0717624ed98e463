//! What the admin pages show.

use std::net::IpAddr;

use allowlist::Validity;
use serde_json::json;

use super::readings::View;
use super::{Status, UNSAVED_SECONDS_TOLD, count, pending, readings, whose};
use crate::net::admin::Pages;
use crate::net::edge::Aside;
use crate::net::node::policy::Exemption;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::clock::wall;

impl Pages for Status {
    fn metrics(&self) -> String {
        let now = wall();
        let (ready, attention) = (self.not_ready().is_empty(), self.attention());
        let policy = self.policy.load();
        let facts = self.facts();
        let view = View {
            now,
            is_ready: ready,
            policy: &policy,
            sessions: &self.sessions,
            lookups: &self.lookups,
            answers: self.lookups.answers().figures(),
            facts: &facts,
        };
        metrics::with_local_recorder(&self.recorder, || {
            readings::show(&view);
            count::attention(&attention);
            facts.sinks.iter().for_each(count::sink);
            if let Some(edge) = &facts.edge {
                count::edge(edge.aside());
            }
            if let Some(plane) = &facts.dns {
                count::dns(plane);
            }
            if let Some(accounting) = &facts.accounting {
                count::accounting(accounting);
            }
        });
        let commits = facts.accounting.as_ref().map(|accounting| accounting.figures.commits());
        drop(facts);
        let mut text = self.handle.render();
        text.extend(commits);
        text
    }

    fn session(&self, address: IpAddr, port: Option<u16>) -> serde_json::Value {
        whose::answer(self, address, port)
    }

    fn not_ready(&self) -> Vec<String> {
        let policy = self.policy.load();
        let facts = self.facts();
        let mut reasons = Vec::new();
        match (&policy.list, &facts.reload.list) {
            (None, None) => reasons.push("no list was ever accepted: everything is charged".to_owned()),
            (None, Some(fault)) => reasons.push(format!("no list: {}", fault.summary())),
            (Some(list), _) => {
                if list.validity(wall()) == Validity::Expired {
                    reasons.push(format!("the list expired at {}", list.expires()));
                }
            }
        }
        if let Some(fault) = &facts.export_fault {
            reasons.push(format!("export: {fault}"));
        }
        let age = facts.last_saved.map(|saved| wall().duration_since(saved).as_secs());
        if let Some(age) = age.filter(|age| *age > UNSAVED_SECONDS_TOLD) {
            reasons.push(format!("counts were last saved {age} seconds ago"));
        }
        if policy.exemption == Exemption::Suspended {
            reasons.push("counts cannot be saved: everything is charged as overload".to_owned());
        }
        if facts.silent_workers > 0 {
            reasons.push(format!("{} workers do not answer", facts.silent_workers));
        }
        reasons.extend(facts.dns_faults.iter().cloned());
        if let Some((down, all)) = facts.dns.as_ref().map(|plane| plane.servers_down())
            && down == all
            && all > 0
        {
            reasons.push(format!("DNS: none of {all} resolvers answers (dns.upstream)"));
        }
        if let Some(aside) = facts.edge.as_ref().map(|edge| edge.aside())
            && aside != Aside::Taken
        {
            reasons.push(format!("transparent listeners: new flows pass by ({})", aside.label()));
        }
        if facts.overload.as_ref().is_some_and(|overload| overload.is_unread()) {
            reasons.push("memory runs short (limits.memory_max): new flows are not read".to_owned());
        }
        if facts.draining {
            reasons.push("draining: no new connections".to_owned());
        }
        reasons
    }

    fn attention(&self) -> Vec<Attention> {
        let policy = self.policy.load();
        let facts = self.facts();
        let mut items = Vec::new();
        let mut add = |reason, text: String| items.push(Attention::new(reason, text));
        if let (Some(list), Some(fault)) = (&policy.list, &facts.reload.list) {
            let text = format!("list not renewed, serial {} stays: {}", list.serial(), fault.summary());
            add(AttentionReason::ListNotTaken, text);
        }
        if let Some(unproven) = &facts.reload.unproven {
            add(AttentionReason::ListChain, unproven.clone());
        }
        if let Some(fault) = &facts.reload.subscribers {
            let text = format!("subscribers not renewed: {}", fault.summary());
            add(AttentionReason::SubscribersNotTaken, text);
        }
        if self.sessions.unbound() > 0 {
            let text = format!(
                "{} prefixes of the subscriber table found no room and have no session: raise limits.sessions_max, {} at the \
                 moment",
                self.sessions.unbound(),
                self.sessions.held_max()
            );
            add(AttentionReason::SessionsFull, text);
        }
        if let Some(fault) = &facts.dns_tls_fault {
            add(AttentionReason::DnsCertificate, fault.clone());
        }
        if facts.mismatches > 0 {
            let text = format!("{} files with bytes not conserved", facts.mismatches);
            add(AttentionReason::Conservation, text);
        }
        if self.lookups.is_failing() {
            let text = "none of upstream.resolvers answers: names are dialled where they were last found, addresses that \
                        nobody has vouched for are charged";
            add(AttentionReason::Resolvers, text.to_owned());
        }
        items.extend(self.lookups.answers().attention());
        items.extend(facts.export_attention.iter().cloned());
        items.extend(facts.sinks.iter().filter_map(|sink| sink.attention.clone()));
        items.extend(facts.egress.as_ref().and_then(|egress| egress.attention()));
        items.extend(facts.overload.as_ref().and_then(|overload| overload.over_limit.attention()));
        items.extend(facts.kernel.as_ref().and_then(|kernel| kernel.attention()));
        items.extend(facts.kernel.as_ref().and_then(|kernel| kernel.drops_attention()));
        if let Some(accounting) = &facts.accounting {
            items.extend(accounting.attention());
        }
        if let Some(fault) = &facts.reload.radius {
            let text = format!("clients of accounting not renewed: {}", fault.summary());
            items.push(Attention::new(AttentionReason::RadiusClients, text));
        }
        items
    }

    fn status(&self) -> serde_json::Value {
        let policy = self.policy.load();
        let (reasons, attention) = (self.not_ready(), self.attention());
        let facts = self.facts();
        let (open, udp) = facts.open();
        json!({
            "node_id": self.node_id,
            "version": env!("CARGO_PKG_VERSION"),
            "started": self.started.to_string(),
            "ready": reasons.is_empty(),
            "not_ready": reasons,
            "attention": attention,
            "list": policy.list.as_ref().map(|list| json!({
                "id": &**list.list_id(),
                "serial": list.serial(),
                "effective_from": list.effective_from().to_string(),
                "expires": list.expires().to_string(),
                "pending": pending(&policy).map(|pending| json!({
                    "id": &**pending.list_id(),
                    "serial": pending.serial(),
                    "effective_from": pending.effective_from().to_string(),
                    "expires": pending.expires().to_string(),
                })),
            })),
            "subscriber_prefixes": self.sessions.len(),
            "flows_open": open,
            "flows_open_udp": udp,
            "kernel": facts.kernel.as_ref().map(|kernel| json!({
                "slots_taken": kernel.taken(),
                "unseen_bytes": kernel.unseen(),
                "dropped_bytes": kernel.dropped(),
            })),
            "export": {
                "epoch": facts.epoch,
                "backlog_records": facts.backlog_records,
                "last_saved": facts.last_saved.map(|at| at.to_string()),
                "conservation_mismatches": facts.mismatches,
                "sinks": facts.sinks.iter().map(|sink| json!({
                    "id": sink.id,
                    "watermark": sink.standing.map(|standing| standing.watermark),
                    "backlog_records": sink.standing.map(|standing| standing.backlog_records),
                    "last_success": sink.last_success.map(|at| at.to_string()),
                    "errors": sink.errors,
                })).collect::<Vec<_>>(),
            },
        })
    }
}

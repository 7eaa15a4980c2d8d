//! What is asked, in which order, and what it changes.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::interview::{Ended, Interview, Question};
use super::meaning::{NEW, NONE, generation, needed, services, without_ports, words, yes_or_no};
use super::plan::{Gateway, Node, Partner, Plan};
use super::wording::{
    ACCESS_WHY, ADDRESSES_WHY, ARE_PAUSED, AV_VIP_WHY, AV_WHY, CONFIRM_WHY, CONTACT_WHY, COUNT,
    DOMAINS_WHY, EDGE_WHY, FEDERATION_WHY, GENERATION_WHY, INTERFACES_WHY, INTERNAL_VIP_WHY,
    INTERNAL_WHY, IS_CLOSED, IS_GATEWAY, IS_PAIR, KEY, NEEDS_INSIDE, NODE_WHY, OTHER_VIP_WHY,
    PARTNER, POOL, SERVICES, VIEW, VIEW_FROM, VIP_WHY, WEBCONF_WHY, optional,
};
use crate::config::model::Generation;

/// Asks everything. `fresh_key` makes a placement key that nobody can guess.
pub(super) fn ask<R: BufRead, W: Write>(
    interview: &mut Interview<R, W>,
    path: &Path,
    fresh_key: impl FnOnce() -> io::Result<String>,
) -> Result<Plan, Ended> {
    let mut talk = Talk {
        interview,
        plan: Plan::default(),
    };
    talk.interview.say(&format!(
        "This asks for what Pinfold needs to begin, writes {} and checks it. Nothing is written before the last \
         answer. Enter takes what stands in brackets, ? explains again, q leaves.",
        path.display()
    ))?;
    talk.edge_servers()?;
    talk.addresses()?;
    talk.gateway()?;
    talk.manners()?;
    talk.partners()?;
    talk.this_machine(fresh_key)?;
    talk.confirm(path)?;
    Ok(talk.plan)
}

struct Talk<'i, R, W> {
    interview: &'i mut Interview<R, W>,
    plan: Plan,
}

impl<R: BufRead, W: Write> Talk<'_, R, W> {
    /// Asks for something that changes the plan; it is taken if the plan can still be put in force.
    fn put(
        &mut self,
        question: &Question<'_>,
        change: impl Fn(&mut Plan, &str) -> Result<(), String>,
    ) -> Result<(), Ended> {
        let plan = &self.plan;
        self.plan = self.interview.ask(question, |answer| {
            let mut trial = plan.clone();
            change(&mut trial, answer)?;
            trial.check()?;
            Ok(trial)
        })?;
        Ok(())
    }

    fn edge_servers(&mut self) -> Result<(), Ended> {
        self.interview.begin("1 of 6: the Edge Servers")?;
        let plan = &self.plan;
        self.plan.pool = self.interview.ask(&POOL, |answer| {
            let mut trial = plan.clone();
            trial.pool = answer.to_owned();
            // A pool without a node is none.
            trial.nodes.push(unnamed(1));
            trial.check().map(|()| answer.to_owned())
        })?;
        self.plan.services = self.interview.ask(&SERVICES, services)?;
        let count = self.interview.ask(&COUNT, |answer| {
            let count = answer.parse().ok().filter(|count| (1..=64).contains(count));
            count.ok_or_else(|| format!("\"{answer}\" is not a number from 1 to 64"))
        })?;
        for number in 1..=count {
            self.node(number)?;
        }
        Ok(())
    }

    fn node(&mut self, number: usize) -> Result<(), Ended> {
        let name = format!("name of Edge Server {number}");
        let default = format!("edge{number}");
        let question = Question::new(&name, NODE_WHY, "edge1", &default);
        self.put(&question, |plan, answer| {
            let mut node = unnamed(number);
            node.name = answer.to_owned();
            plan.nodes.push(node);
            Ok(())
        })?;
        let name = self.last_node().name.clone();
        let asked = format!("{name}: Access Edge address");
        let question = Question::new(&asked, ACCESS_WHY, "198.51.100.11", "");
        self.put(&question, |plan, answer| {
            change_node(plan, |node| answer.clone_into(&mut node.access));
            Ok(())
        })?;
        let access = self.last_node().access.clone();
        if self.plan.services.webconf {
            let asked = format!("{name}: Web Conferencing address");
            let question = Question::new(&asked, WEBCONF_WHY, "198.51.100.21", &access);
            self.put(&question, |plan, answer| {
                change_node(plan, |node| node.webconf = Some(answer.to_owned()));
                Ok(())
            })?;
        }
        if self.plan.services.av {
            let asked = format!("{name}: A/V address");
            let question = Question::new(&asked, AV_WHY, "198.51.100.31", &access);
            self.put(&question, |plan, answer| {
                change_node(plan, |node| node.av = Some(answer.to_owned()));
                Ok(())
            })?;
        }
        if self.plan.services.internal {
            let asked = format!("{name}: internal address");
            let question = Question::new(&asked, INTERNAL_WHY, "192.0.2.11", "");
            self.put(&question, |plan, answer| {
                change_node(plan, |node| node.internal = Some(answer.to_owned()));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn last_node(&self) -> Node {
        self.plan.nodes.last().cloned().unwrap_or_default()
    }

    fn addresses(&mut self) -> Result<(), Ended> {
        self.interview
            .begin("2 of 6: the VIPs that clients connect to")?;
        let question = Question::new("federation VIP", FEDERATION_WHY, "203.0.113.10", "");
        self.put(&question, |plan, answer| {
            plan.vips.federation = needed(answer)?;
            Ok(())
        })?;
        let bare = |vips: &[String]| {
            let ips = vips.iter().map(|vip| match vip.parse() {
                Ok(address) => std::net::SocketAddr::ip(&address).to_string(),
                Err(_) => vip.clone(),
            });
            ips.collect::<Vec<_>>().join(" ")
        };
        let same = bare(&self.plan.vips.federation);
        let services = self.plan.services;
        if services.xmpp {
            let question = Question::new("XMPP VIP", VIP_WHY, "203.0.113.10", &same);
            self.put(&question, |plan, answer| {
                plan.vips.xmpp = needed(answer)?;
                Ok(())
            })?;
        }
        if services.access {
            let question = Question::new(
                "Access VIP for remote users",
                VIP_WHY,
                "203.0.113.10",
                &same,
            );
            self.put(&question, |plan, answer| {
                plan.vips.access = needed(answer)?;
                Ok(())
            })?;
        }
        if services.webconf {
            let question = Question::new("Web Conferencing VIP", OTHER_VIP_WHY, "203.0.113.20", "");
            self.put(&question, |plan, answer| {
                plan.vips.webconf = needed(answer)?;
                Ok(())
            })?;
        }
        if services.av {
            let question = Question::new("A/V VIP", AV_VIP_WHY, "203.0.113.30", "");
            self.put(&question, |plan, answer| {
                plan.vips.av = without_ports(answer)?;
                Ok(())
            })?;
        }
        if services.internal {
            let question = Question::new("internal VIP", INTERNAL_VIP_WHY, "192.0.2.10", "");
            self.put(&question, |plan, answer| {
                plan.vips.internal = without_ports(answer)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn gateway(&mut self) -> Result<(), Ended> {
        self.interview
            .begin("3 of 6: the way back from the nodes")?;
        if !self.plan.services.av {
            return self.interview.say(
                "Nothing to ask: without A/V the nodes see this machine's own address, and answer it.",
            );
        }
        if !self.interview.ask(&IS_GATEWAY, yes_or_no)? {
            return Ok(());
        }
        let question = Question::new("interface towards clients", INTERFACES_WHY, "ens192", "");
        self.put(&question, |plan, answer| {
            // Any other one, until it is known.
            let inside = if answer == "lan0" { "lan1" } else { "lan0" };
            plan.gateway = Some(Gateway {
                outside: answer.to_owned(),
                inside: inside.to_owned(),
            });
            Ok(())
        })?;
        let question = Question::new("interface towards the nodes", INTERFACES_WHY, "ens224", "");
        self.put(&question, |plan, answer| {
            if let Some(gateway) = &mut plan.gateway {
                answer.clone_into(&mut gateway.inside);
            }
            Ok(())
        })
    }

    fn manners(&mut self) -> Result<(), Ended> {
        self.interview
            .begin("4 of 6: when is a node dead, and who may come")?;
        self.plan.are_paused = self.interview.ask(&ARE_PAUSED, yes_or_no)?;
        if self.plan.services.internal {
            self.plan.needs_inside = self.interview.ask(&NEEDS_INSIDE, yes_or_no)?;
        }
        self.plan.is_closed = self.interview.ask(&IS_CLOSED, |answer| match answer {
            "open" => Ok(false),
            "closed" => Ok(true),
            _ => Err(format!("\"{answer}\" is neither open nor closed")),
        })?;
        Ok(())
    }

    fn partners(&mut self) -> Result<(), Ended> {
        self.interview.begin("5 of 6: federation partners")?;
        loop {
            let before = self.plan.partners.len();
            self.put(&PARTNER, |plan, answer| {
                if !answer.is_empty() {
                    plan.partners.push(Partner {
                        name: answer.to_owned(),
                        generation: Generation::Other.name(),
                        ..Partner::default()
                    });
                }
                Ok(())
            })?;
            if self.plan.partners.len() == before {
                return Ok(());
            }
            self.partner()?;
        }
    }

    fn partner(&mut self) -> Result<(), Ended> {
        let name = self
            .plan
            .partners
            .last()
            .map_or_else(String::new, |last| last.name.clone());
        let asked = format!("{name}: what does it run");
        let question = Question::new(&asked, GENERATION_WHY, "ocs-2007, or 3", "other");
        self.put(&question, |plan, answer| {
            let generation = generation(answer)?;
            change_partner(plan, |partner| partner.generation = generation.name());
            Ok(())
        })?;
        let asked = format!("{name}: SIP domains");
        let question = optional(&asked, DOMAINS_WHY, "fabrikam.com fabrikam.de");
        self.put(&question, |plan, answer| {
            change_partner(plan, |partner| partner.domains = words(answer));
            Ok(())
        })?;
        let asked = format!("{name}: names of its Edge Servers");
        let question = optional(&asked, EDGE_WHY, "sip.fabrikam.com");
        self.put(&question, |plan, answer| {
            change_partner(plan, |partner| partner.edge = words(answer));
            Ok(())
        })?;
        let asked = format!("{name}: addresses it connects from");
        let question = optional(&asked, ADDRESSES_WHY, "192.0.2.0/28 2001:db8:9::5");
        self.put(&question, |plan, answer| {
            change_partner(plan, |partner| partner.addresses = words(answer));
            let last = plan.partners.last();
            if plan.is_closed && last.is_some_and(|partner| partner.addresses.is_empty()) {
                return Err("federation is closed, and lets partners in by their addresses alone".into());
            }
            match last.is_none_or(Partner::is_known) {
                true => Ok(()),
                false => Err("by something it must be known: without domains and names, its addresses are needed".into()),
            }
        })?;
        let asked = format!("{name}: whom to call");
        let question = optional(&asked, CONTACT_WHY, "NOC +49 30 5550 111");
        self.put(&question, |plan, answer| {
            let contact = (answer != NONE).then(|| answer.to_owned());
            change_partner(plan, |partner| partner.contact = contact);
            Ok(())
        })
    }

    fn this_machine(
        &mut self,
        fresh_key: impl FnOnce() -> io::Result<String>,
    ) -> Result<(), Ended> {
        self.interview.begin("6 of 6: this machine")?;
        if self.interview.ask(&IS_PAIR, yes_or_no)? {
            self.put(&KEY, |plan, answer| {
                plan.placement_key = Some(answer.to_owned());
                Ok(())
            })?;
            if self.plan.placement_key.as_deref() == Some(NEW) {
                self.plan.placement_key = Some(fresh_key()?);
                self.plan.is_pair_with_new_key = true;
            }
        }
        self.put(&VIEW, |plan, answer| {
            plan.view = words(answer);
            Ok(())
        })?;
        if self.plan.view.iter().any(|view| !view.starts_with("unix:")) {
            self.put(&VIEW_FROM, |plan, answer| {
                plan.view_from = words(answer);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn confirm(&mut self, path: &Path) -> Result<(), Ended> {
        let Plan {
            pool,
            nodes,
            partners,
            ..
        } = &self.plan;
        let count = |number: usize, noun: &str| match number {
            1 => format!("1 {noun}"),
            many => format!("{many} {noun}s"),
        };
        self.interview.say(&format!(
            "Pool {pool} with {}, {}.",
            count(nodes.len(), "Edge Server"),
            count(partners.len(), "partner"),
        ))?;
        let asked = format!("write {}", path.display());
        let question = Question::new(&asked, CONFIRM_WHY, "", "yes");
        match self.interview.ask(&question, yes_or_no)? {
            true => Ok(()),
            false => Err(Ended::Quit),
        }
    }
}

impl Partner {
    fn is_known(&self) -> bool {
        !(self.domains.is_empty() && self.edge.is_empty() && self.addresses.is_empty())
    }
}

/// One whose address is not known yet: none that anybody has (RFC 1112 §4, class E).
fn unnamed(number: usize) -> Node {
    Node {
        name: format!("edge{number}"),
        access: format!("240.0.0.{number}"),
        ..Node::default()
    }
}

fn change_node(plan: &mut Plan, change: impl FnOnce(&mut Node)) {
    if let Some(node) = plan.nodes.last_mut() {
        change(node);
    }
}

fn change_partner(plan: &mut Plan, change: impl FnOnce(&mut Partner)) {
    if let Some(partner) = plan.partners.last_mut() {
        change(partner);
    }
}

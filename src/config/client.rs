//! `[[client]]`: who the senders are.

use super::complaint::Wrong;
use super::file::{Section, Written};
use super::listener::network;
use super::{Client, Priority};
use crate::exchange::{ClientName, Component, DestinationName, UserName};

pub(super) fn read(mut section: Section<'_, '_>) -> Written<Client> {
    let name = section.optional("name", |item| item.name("cluster-1").map(ClientName::new));
    if !section.has("name") {
        section.missing(
            "name",
            r#"what metrics and logs call it: name = "cluster-1""#,
        );
    }
    let nobody = "name at least one, or leave the key out";
    let users = section.full_list("users", Vec::new(), nobody, |item| {
        item.words("cucm1").map(UserName::new)
    });
    let networks = section.full_list("networks", Vec::new(), nobody, network);
    if !section.has("users") && !section.has("networks") {
        section.missing(
            "users",
            r#"say how it is known: users = ["cucm1"], networks = ["10.1.0.0/16"], or both"#,
        );
    }
    let everything = "leave the key out to allow all destinations; name at least one otherwise";
    let destinations = section.full_list("destinations", Vec::new(), everything, |item| {
        item.words("cisco").map(DestinationName::new)
    });
    let component = section.optional("component", |item| {
        // We are none of those that send pushes.
        let all = Component::ALL.into_iter();
        let senders = all.filter(|component| *component != Component::Tidegate);
        let words: Vec<_> = senders
            .map(|component| (component.name(), component))
            .collect();
        item.word(&words)
    });
    let priority = section.word(
        "priority",
        "messages",
        &[("calls", Priority::Calls), ("messages", Priority::Messages)],
    );
    let exempt = section
        .optional("authentication", |item| item.word(&[("none", true)]))
        .unwrap_or(false);
    if exempt && !section.has("networks") {
        section.complain(
            "authentication",
            Wrong::new(
                "without networks lets nobody in",
                r#"say from where they come: networks = ["10.1.0.0/16"]"#,
            ),
        );
    }
    section.written(Client {
        name: name.unwrap_or_else(|| ClientName::new("")),
        users,
        networks,
        destinations,
        component,
        priority,
        exempt,
    })
}

//! A configuration as the operator may see it: every key by its name in the file, and no secret.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::endpoint::hide;
use super::units::show_duration;
use super::{
    AccessSink, Alarms, Authentication, Bytes, Client, ClientUser, Config, Destination, Families,
    Grace, HostRule, Level, Limit, LimitPer, Listener, Log, Priority, Rate, Repeat, Role, Sni,
    TlsVersion, Unlisted,
};

/// Keys that are off are left out.
pub(super) fn config(config: &Config) -> Value {
    let Config {
        source: _,
        listeners,
        admin,
        authentication,
        clients,
        destinations,
        policy,
        dns,
        connect,
        tunnel,
        forward,
        intake,
        limits,
        log,
        drain,
        runtime,
        alarms,
    } = config;
    present(json!({
        "listener": listeners.iter().map(listener).collect::<Vec<_>>(),
        "admin": present(json!({
            "address": admin.address.to_string(),
            "control_socket": maybe_path(admin.control_socket.as_deref()),
        })),
        "authentication": authentication_(authentication),
        "client": clients.iter().map(client).collect::<Vec<_>>(),
        "destination": destinations.iter().map(destination).collect::<Vec<_>>(),
        "policy": { "unlisted": match policy.unlisted {
            Unlisted::Refuse => "refuse",
            Unlisted::Report => "report",
        }},
        "dns": {
            "servers": dns.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "min_ttl": duration(dns.min_ttl),
            "max_ttl": duration(dns.max_ttl),
            "negative_ttl": duration(dns.negative_ttl),
            "serve_stale": duration(dns.serve_stale),
            "timeout": duration(dns.timeout),
            "ca": maybe_path(dns.ca.as_ref().map(|ca| ca.path.as_path())),
        },
        "connect": {
            "budget": duration(connect.budget),
            "attempt_delay": duration(connect.attempt_delay),
            "families": match connect.families {
                Families::Both => "both",
                Families::Ipv4 => "ipv4",
                Families::Ipv6 => "ipv6",
            },
            "quarantine": duration(connect.quarantine),
            "quarantine_max": duration(connect.quarantine_max),
            "peers": connect.peers,
        },
        "tunnel": {
            "idle_timeout": duration(tunnel.idle_timeout),
            "keepalive": {
                "idle": duration(tunnel.keepalive.idle),
                "interval": duration(tunnel.keepalive.interval),
                "probes": tunnel.keepalive.probes,
            },
            "unacknowledged_timeout": duration(tunnel.unacknowledged_timeout),
            "confirmation_timeout": duration(tunnel.confirmation_timeout),
        },
        "forward": {
            "second_address_after": duration(forward.second_address_after),
            "response_timeout": duration(forward.response_timeout),
            "body_timeout": duration(forward.body_timeout),
            "body_max": forward.body_max.to_string(),
            "inspect_max": forward.inspect_max.to_string(),
            "handshake_timeout": duration(forward.handshake_timeout),
            "idle_connections": forward.idle_connections,
            "idle_timeout": duration(forward.idle_timeout),
        },
        "intake": {
            "connections": intake.connections,
            "tunnels": intake.tunnels,
            "held_refusals": intake.held_refusals,
            "head_timeout": duration(intake.head_timeout),
            "handshake_timeout": duration(intake.handshake_timeout),
            "head_bytes": intake.head_bytes.to_string(),
            "client_idle_timeout": duration(intake.client_idle_timeout),
        },
        "limit": limits.iter().map(limit).collect::<Vec<_>>(),
        "log": log_(log),
        "drain": {
            "tunnel_grace": grace(drain.tunnel_grace),
            "upgrade_grace": grace(drain.upgrade_grace),
            "release_idle_first": drain.release_idle_first,
        },
        "runtime": { "workers": runtime.workers },
        "alarms": alarms_(alarms),
    }))
}

fn listener(listener: &Listener) -> Value {
    present(json!({
        "name": listener.name.as_str(),
        "address": listener.address.to_string(),
        "dual_stack": listener.dual_stack,
        "allow_from": strings(&listener.allow_from),
        "proxy_protocol_from": strings(&listener.proxy_protocol_from),
        "tls": listener.tls.as_ref().map(|tls| present(json!({
            "certificate": path(&tls.identity.certificate),
            "private_key": path(&tls.identity.private_key),
            "client_ca": maybe_path(tls.client_ca.as_ref().map(|ca| ca.path.as_path())),
            "client_user": match tls.client_user {
                ClientUser::Subject => "subject",
                ClientUser::San => "san",
            },
            "min_version": match tls.min_version {
                TlsVersion::V1_2 => "1.2",
                TlsVersion::V1_3 => "1.3",
            },
            "ticket_key_file": maybe_path(tls.ticket_key_file.as_deref()),
            "http2": tls.http2,
        }))),
    }))
}

fn authentication_(authentication: &Authentication) -> Value {
    let Authentication {
        required,
        realm,
        schemes,
        basic_requires_tls,
        users_file,
        // Their hashes are secret, and their names are nobody's business here.
        users: _,
        digest_algorithms,
        userhash,
        nonce_lifetime,
        nonces,
        nonce_key_file,
        nonce_keys: _,
        failure_rate,
        failure_burst,
        failure_keys,
        next_nonce,
    } = authentication;
    present(json!({
        "required": required,
        "realm": realm,
        "schemes": schemes.iter().map(|scheme| scheme.token()).collect::<Vec<_>>(),
        "basic_requires_tls": basic_requires_tls,
        "users": path(users_file),
        "digest_algorithms": digest_algorithms.iter().map(|one| one.token()).collect::<Vec<_>>(),
        "userhash": userhash,
        "nonce_lifetime": duration(*nonce_lifetime),
        "nonces": nonces,
        "nonce_key_file": maybe_path(nonce_key_file.as_deref()),
        "failure_rate": rate(*failure_rate),
        "failure_burst": failure_burst,
        "failure_keys": failure_keys,
        "next_nonce": next_nonce,
    }))
}

fn client(client: &Client) -> Value {
    present(json!({
        "name": client.name.as_str(),
        "users": strings(&client.users),
        "networks": strings(&client.networks),
        "destinations": strings(&client.destinations),
        "component": client.component,
        "priority": match client.priority {
            Priority::Calls => "calls",
            Priority::Messages => "messages",
        },
        "authentication": client.exempt.then_some("none"),
    }))
}

fn destination(destination: &Destination) -> Value {
    let first = destination.hosts.first().map(|rule| rule.role);
    let one_role = destination
        .hosts
        .iter()
        .all(|rule| Some(rule.role) == first);
    present(json!({
        "preset": destination.preset,
        "name": destination.name.as_str(),
        "hosts": destination.hosts.iter().map(host).collect::<Vec<_>>(),
        "ports": destination.ports.iter().map(|ports| {
            if ports.first == ports.last { json!(ports.first) } else { json!(ports.to_string()) }
        }).collect::<Vec<_>>(),
        "role": first.filter(|_| one_role).map(Role::word),
        // A preset's hosts have roles of their own; no key of the file says this.
        "roles": (!one_role).then(|| destination.hosts.iter()
            .map(|rule| (host(rule), json!(rule.role.word())))
            .collect::<Map<_, _>>()),
        "networks": strings(&destination.networks),
        "published": (!destination.published.is_empty()).then(|| strings(&destination.published)),
        "sni": match destination.sni {
            Sni::Off => "off",
            Sni::Match => "match",
            Sni::Require => "require",
        },
        "ca": maybe_path(destination.ca.as_ref().map(|ca| ca.path.as_path())),
        "max_ttl": destination.max_ttl.map(duration),
        "addresses": strings(&destination.addresses),
        "connect_budget": destination.connect_budget.map(duration),
        "repeat": match destination.repeat {
            Repeat::Safe => "safe",
            Repeat::Always => "always",
            Repeat::Never => "never",
        },
        "via": strings(&destination.via),
        "password_file": maybe_path(destination.password.as_ref().map(|one| one.path.as_path())),
        "source": strings(&destination.source),
        "report_only": destination.report_only,
    }))
}

fn host(rule: &HostRule) -> String {
    rule.pattern.to_string()
}

fn limit(limit: &Limit) -> Value {
    present(json!({
        "name": limit.name,
        "per": match limit.per {
            LimitPer::Client => "client",
            LimitPer::User => "user",
            LimitPer::Address => "address",
            LimitPer::Destination => "destination",
            LimitPer::All => "all",
        },
        "rate": limit.rate.map(rate),
        "burst": limit.burst,
        "tunnels": limit.tunnels,
        // Byte rates are whole: they are written as sizes.
        "bytes": limit.bytes.map(|rate| format!("{}/s", Bytes(rate.per_second as u64))),
        "max_wait": duration(limit.max_wait),
        "keys": limit.keys,
        "report_only": limit.report_only,
    }))
}

fn log_(log: &Log) -> Value {
    let lines = log.tunnel_lines;
    let words = [
        (lines.open, "open"),
        (lines.hourly, "hourly"),
        (lines.close, "close"),
    ];
    present(json!({
        "level": match log.level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        },
        "access": match &log.access {
            AccessSink::Stdout => String::from("stdout"),
            AccessSink::Off => String::from("off"),
            AccessSink::File(file) => path(file),
            AccessSink::Syslog(collector) => collector.to_string(),
        },
        "syslog_ca": maybe_path(log.syslog_ca.as_ref().map(|ca| ca.path.as_path())),
        "queue_lines": log.queue_lines,
        "tunnel_lines": words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<Vec<_>>(),
    }))
}

fn alarms_(alarms: &Alarms) -> Value {
    present(json!({
        "syslog": alarms.syslog.as_deref().map(hide),
        "alertmanager": alarms.alertmanager.as_deref().map(hide),
        "webhook": alarms.webhook.as_deref().map(hide),
        "upload": alarms.upload.as_ref().map(|upload| present(json!({
            "url": hide(&upload.url),
            "period": duration(upload.period),
            "minimum_severity": upload.minimum_severity,
            "personal_data": upload.personal_data,
            "key_file": maybe_path(upload.key_file.as_deref()),
        }))),
    }))
}

fn grace(grace: Grace) -> String {
    match grace {
        Grace::For(time) => duration(time),
        Grace::Unlimited => String::from("unlimited"),
    }
}

fn duration(time: Duration) -> String {
    show_duration(time)
}

fn rate(rate: Rate) -> String {
    format!("{}/s", rate.per_second)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn maybe_path(file: Option<&Path>) -> Option<String> {
    file.map(path)
}

fn strings<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Without the keys that are off.
fn present(mut value: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.retain(|_, value| !value.is_null());
    }
    value
}

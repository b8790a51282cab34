//! `tidegate check FILE`: everything that is wrong with a configuration, at once; `--diff OLD NEW`: what a reload would do.
//!
//! Reads what the configuration names (users, certificates, keys); binds nothing, connects to nothing.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::SystemTime;

use crate::config::diff::{self, Change, Plan};
use crate::config::identity::RENEW_WITHIN;
use crate::config::{self, AccessSink, Config, Unlisted};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 78;

/// Prints the complaints, or that there are none; the result is the exit code.
pub fn run(file: &Path, out: &mut dyn Write) -> u8 {
    let (text, code) = match config::load(Some(file)) {
        Ok(config) => (report(file, &config, SystemTime::now()), DONE),
        Err(complaints) => (format!("{complaints}\n"), BAD_CONFIGURATION),
    };
    write(out, &text, code)
}

/// Prints what applies at once and what needs a restart, or both files' complaints; the result is the exit code.
pub fn diff(old: &Path, new: &Path, out: &mut dyn Write) -> u8 {
    let (text, code) = match (config::load(Some(old)), config::load(Some(new))) {
        (Ok(old), Ok(new)) => match diff::hazard(&old, &new) {
            None => (plan(&diff::diff(&old, &new)), DONE),
            Some(hazard) => {
                let text = format!("a reload would be refused: {hazard}\n");
                (text, BAD_CONFIGURATION)
            }
        },
        (old, new) => {
            let complaints = [old.err(), new.err()].into_iter().flatten();
            let text = complaints.map(|complaints| format!("{complaints}\n"));
            (text.collect(), BAD_CONFIGURATION)
        }
    };
    write(out, &text, code)
}

fn plan(plan: &Plan) -> String {
    let section = |title: &str, changes: &[Change]| {
        let lines = changes.iter().map(|change| format!("  {change}\n"));
        match changes {
            [] => String::new(),
            _ => format!("{title}:\n{}", lines.collect::<String>()),
        }
    };
    let text =
        section("applies at once", &plan.apply) + &section("needs a restart", &plan.needs_restart);
    match text.as_str() {
        "" => String::from("no difference\n"),
        _ => text,
    }
}

fn write(out: &mut dyn Write, text: &str, code: u8) -> u8 {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        // Whoever closed the pipe has read enough; the verdict stands.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => code,
        Err(_) => FAILED,
    }
}

fn report(file: &Path, config: &Config, now: SystemTime) -> String {
    let file = file.display();
    let listeners = config.listeners.iter().map(|listener| {
        let kind = if listener.tls.is_some() {
            "TLS"
        } else {
            "plain"
        };
        format!("{} {} ({kind})", listener.name, listener.address)
    });
    let destinations = config.destinations.iter().map(|one| one.name.to_string());
    let mut users: Vec<&str> = config
        .authentication
        .users
        .iter()
        .map(|line| line.user.as_str())
        .collect();
    users.sort_unstable();
    users.dedup();
    let mut report = format!(
        "{file}: ok: listeners {}; destinations {}; {}{}\n",
        listeners.collect::<Vec<_>>().join(", "),
        destinations.collect::<Vec<_>>().join(", "),
        match users.len() {
            1 => String::from("1 user"),
            count => format!("{count} users"),
        },
        if config.authentication.required {
            ""
        } else {
            ", no password required"
        },
    );
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        let left = tls.identity.expires.duration_since(now).unwrap_or_default();
        let days = left.as_secs() / (24 * 60 * 60);
        let remedy = if left < RENEW_WITHIN {
            ": renew it now"
        } else {
            ""
        };
        report.push_str(&format!(
            "{file}: note: the certificates of listener {} are good for {days} more days{remedy}\n",
            listener.name
        ));
    }
    if let Some(socket) = &config.admin.control_socket
        && !config::folder_exists(socket)
    {
        report.push_str(&format!(
            "{file}: note: the folder of admin.control_socket does not exist ({}): it must when the proxy starts; RuntimeDirectory= has systemd make it\n",
            socket.display()
        ));
    }
    // Whether it has a reader is known by opening it alone, which another reader would notice.
    if let AccessSink::File(path) = &config.log.access
        && fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
    {
        report.push_str(&format!(
            "{file}: note: log.access is a named pipe: the proxy does not start while nobody reads it\n"
        ));
    }
    if config.policy.unlisted == Unlisted::Report {
        report.push_str(&format!(
            "{file}: note: policy.unlisted = \"report\" lets targets of no destination pass: for migration only\n"
        ));
    }
    for destination in config.destinations.iter().filter(|one| one.report_only) {
        report.push_str(&format!(
            "{file}: note: destination {} is report_only: what its rules would refuse passes\n",
            destination.name
        ));
    }
    for (name, source) in crate::dial::missing_sources(&config.destinations) {
        report.push_str(&format!(
            "{file}: note: destination {name}: this machine does not have the source address {source} now: nothing is connected from it until it has\n"
        ));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{Folder, certificate};

    fn check(file: &Path) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(file, &mut out);
        let folder = format!("{}/", file.parent().unwrap().display());
        (code, String::from_utf8(out).unwrap().replace(&folder, ""))
    }

    #[test]
    fn a_good_file_is_summed_up_with_its_certificates() {
        let folder = Folder::new();
        let (chain, key) = certificate();
        folder.write("proxy.pem", chain);
        folder.write("proxy.key", key);
        let md5 = "0".repeat(32);
        folder.write("users", format!("ann:tidegate:{md5}\nann:tidegate:{md5}\n"));
        let file = folder.write(
            "a.toml",
            "[[listener]]\nname = \"tls\"\naddress = \"0.0.0.0:3129\"\n[listener.tls]\n\
             certificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\n\
             [authentication]\nrequired = true\nusers = \"users\"\n[[destination]]\npreset = \"fcm\"\n",
        );
        let (code, out) = check(&file);
        assert_eq!(code, 0, "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[0],
            "a.toml: ok: listeners tls 0.0.0.0:3129 (TLS); destinations fcm; 1 user"
        );
        assert!(
            lines[1].starts_with("a.toml: note: the certificates of listener tls are good for ")
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn rules_that_are_only_tried_out_are_pointed_out() {
        let folder = Folder::new();
        let file = folder.write(
            "a.toml",
            "[policy]\nunlisted = \"report\"\n[[destination]]\npreset = \"fcm\"\nreport_only = true\n[[destination]]\npreset = \"apns\"\n",
        );
        let (code, out) = check(&file);
        assert_eq!(code, 0, "{out}");
        let notes: Vec<&str> = out.lines().skip(1).collect();
        assert_eq!(
            notes,
            [
                "a.toml: note: policy.unlisted = \"report\" lets targets of no destination pass: for migration only",
                "a.toml: note: destination fcm is report_only: what its rules would refuse passes"
            ]
        );
    }

    #[test]
    fn a_bad_file_is_78_and_every_complaint_a_line() {
        let folder = Folder::new();
        let file = folder.write(
            "b.toml",
            "[tunnel]\nidel_timeout = \"1h\"\n[dns]\ntimeout = 1\n",
        );
        let (code, out) = check(&file);
        assert_eq!(code, 78);
        assert_eq!(
            out,
            "b.toml:2: tunnel.idel_timeout: unknown key (did you mean idle_timeout?)\n\
             b.toml:4: dns.timeout: must be a duration, and is the number 1 (in double quotes, with its unit, from \"50ms\" to \"30s\"; the default is \"1s\")\n"
        );
    }

    #[test]
    fn a_difference_says_when_it_applies() {
        let folder = Folder::new();
        let old = folder.write("old.toml", "[log]\nlevel = \"info\"\n");
        let new = folder.write(
            "new.toml",
            "[log]\nlevel = \"warn\"\n[runtime]\nworkers = 2\n",
        );
        let bad = folder.write("bad.toml", "[log]\nlevel = \"loud\"\n");
        let said = |old: &Path, new: &Path| {
            let mut out = Vec::new();
            let code = diff(old, new, &mut out);
            (code, String::from_utf8(out).unwrap())
        };
        assert_eq!(
            said(&old, &new),
            (
                0,
                "applies at once:\n  log.level: \"info\" → \"warn\"\n\
                 needs a restart:\n  runtime.workers: 0 → 2\n"
                    .into()
            )
        );
        assert_eq!(said(&old, &old), (0, "no difference\n".into()));
        for (old, new) in [(&old, &bad), (&bad, &old)] {
            let (code, text) = said(old, new);
            assert!(
                code == 78 && text.contains("bad.toml:2: log.level"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_78() {
        let folder = Folder::new();
        let (code, out) = check(&folder.path("no.toml"));
        assert_eq!(code, 78);
        assert!(
            out.starts_with("no.toml:0: file: there is no such file ("),
            "{out}"
        );
    }
}

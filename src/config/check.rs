//! The file's text to a `Config`, gathering every complaint on the way.
//!
//! Reads the files that the configuration names, too; binds nothing and asks no name.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;
use toml::de::DeTable;

use super::agree::Sections;
use super::file::{Section, Written};
use super::sheet::Sheet;
use super::{
    Complaint, Complaints, Config, Source, accounts, agree, alarms, client, destination, disk,
    fingerprint, listener, sections, shown,
};

/// The complete sample, and what serves where no file is named.
pub(super) const EMBEDDED: &str = include_str!("../../config/tidegate.toml");

/// Reads and checks a configuration; `None` is the embedded default.
pub fn load(path: Option<&Path>) -> Result<Config, Complaints> {
    let Some(path) = path else {
        let (sheet, table) = Sheet::new(EMBEDDED, Path::new("tidegate.toml (built in)"));
        return finish(
            sheet,
            |sheet| read(sheet, sheet.root(table)),
            EMBEDDED,
            None,
        );
    };
    match disk::read(path, disk::LONGEST) {
        // A file that an editor is about to write, or that lost its content, is not the wish for every default.
        Ok(text) if says_nothing(&text) => Err(Complaints(vec![Complaint {
            file: path.to_owned(),
            line: 0,
            key: String::from("file"),
            problem: String::from("says nothing"),
            hint: String::from("set at least one key; without --config the built-in one serves"),
        }])),
        Ok(text) => parse(&text, path),
        Err(err) => {
            let wrong = err.wrong();
            let hint = if err.is_missing() {
                "name a configuration that exists; without --config the built-in one serves"
            } else {
                &wrong.hint
            };
            Err(Complaints(vec![Complaint {
                file: path.to_owned(),
                line: 0,
                key: String::from("file"),
                problem: wrong.problem,
                hint: hint.to_owned(),
            }]))
        }
    }
}

fn says_nothing(text: &str) -> bool {
    let (table, wrong) = DeTable::parse_recoverable(text);
    wrong.is_empty() && table.get_ref().is_empty()
}

/// Checks a configuration's text; `file` is its name in complaints, and its folder is where paths start.
pub(crate) fn parse(text: &str, file: &Path) -> Result<Config, Complaints> {
    let (sheet, table) = Sheet::new(text, file);
    finish(
        sheet,
        |sheet| read(sheet, sheet.root(table)),
        text,
        Some(file),
    )
}

/// Where the control socket is, if a file says so: also of a file that is wrong elsewhere, since it is the running
/// proxy that has to be told what is wrong with it.
///
/// The error is a sentence for whoever named the file.
pub(crate) fn control_socket(path: &Path) -> Result<PathBuf, String> {
    let text = disk::read(path, disk::LONGEST).map_err(|err| {
        let wrong = err.wrong();
        format!("{}: {} ({})", path.display(), wrong.problem, wrong.hint)
    })?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let socket = || {
        let admin = table.get_ref().get("admin")?.get_ref();
        admin.get("control_socket")?.get_ref().as_str()
    };
    let Some(socket) = socket() else {
        return Err(format!(
            "{}: sets no admin.control_socket: add one and restart, or name the socket with --socket",
            path.display()
        ));
    };
    Ok(match path.parent() {
        Some(folder) => folder.join(socket),
        None => PathBuf::from(socket),
    })
}

fn finish(
    sheet: Sheet,
    read: impl FnOnce(&Sheet) -> Config,
    text: &str,
    path: Option<&Path>,
) -> Result<Config, Complaints> {
    let mut config = read(&sheet);
    let complaints = sheet.into_complaints();
    if !complaints.is_empty() {
        return Err(Complaints(complaints));
    }
    config.source = Source {
        path: path.map(PathBuf::from),
        hash: hash(text),
        shown: shown::config(&config),
        contents: fingerprint::of(&config),
    };
    Ok(config)
}

/// Every section, then what they say together. The result is a configuration only if nothing was complained of.
pub(super) fn read(sheet: &Sheet, mut root: Section<'_, '_>) -> Config {
    let now = SystemTime::now();
    let mut all = Sections {
        listeners: listeners(&mut root, now),
        admin: sections::admin(root.section("admin")),
        authentication: sections::authentication(root.section("authentication")),
        clients: each(&mut root, "client", &["name"], client::read),
        destinations: destinations(&mut root),
        dns: sections::dns(root.section("dns")),
        connect: sections::connect(root.section("connect")),
        tunnel: sections::tunnel(root.section("tunnel")),
        limits: each(&mut root, "limit", &["name"], sections::limit),
    };
    let policy = sections::policy(root.section("policy"));
    let forward = sections::forward(root.section("forward"));
    let intake = sections::intake(root.section("intake"));
    let log = sections::log(root.section("log"));
    let drain = sections::drain(root.section("drain"));
    let runtime = sections::runtime(root.section("runtime"));
    let alarms = alarms::read(root.section("alarms"));
    let probe = sections::probe(root.section("probe"));
    drop(root);
    // What is missing may stand where the text is broken; then nothing can be said of the whole.
    if sheet.is_whole() {
        accounts::users(sheet, &mut all.authentication, &all.clients, &all.listeners);
        accounts::nonce_keys(sheet, &mut all.authentication);
        agree::whole(sheet, &all);
    }
    agree::check(sheet, &all);
    Config {
        source: Source::default(),
        listeners: all
            .listeners
            .into_iter()
            .map(|one| one.value.listener)
            .collect(),
        admin: all.admin.value,
        authentication: all.authentication.value,
        clients: plain(all.clients),
        destinations: plain(all.destinations),
        policy,
        dns: all.dns.value,
        connect: all.connect.value,
        tunnel: all.tunnel.value,
        forward,
        intake,
        limits: plain(all.limits),
        log,
        drain,
        runtime,
        alarms,
        probe,
    }
}

fn listeners(root: &mut Section<'_, '_>, now: SystemTime) -> Vec<Written<listener::Draft>> {
    match root.sections("listener", &["name"]) {
        Some(sections) => sections
            .into_iter()
            .map(|section| listener::read(section, now))
            .collect(),
        None => vec![root.written(listener::Draft {
            listener: listener::default(),
            has_address: true,
            has_tls: false,
            has_client_ca: false,
        })],
    }
}

fn destinations(root: &mut Section<'_, '_>) -> Vec<Written<super::Destination>> {
    let presets = destination::presets();
    match root.sections("destination", &["name", "preset"]) {
        Some(sections) => sections
            .into_iter()
            .map(|section| destination::read(section, &presets))
            .collect(),
        None => presets
            .iter()
            .map(|preset| root.written(preset.destination()))
            .collect(),
    }
}

fn each<'s, 'i, T>(
    root: &mut Section<'s, 'i>,
    key: &'static str,
    names: &[&str],
    read: impl FnMut(Section<'s, 'i>) -> Written<T>,
) -> Vec<Written<T>> {
    root.sections(key, names)
        .unwrap_or_default()
        .into_iter()
        .map(read)
        .collect()
}

fn plain<T>(written: Vec<Written<T>>) -> Vec<T> {
    written.into_iter().map(|one| one.value).collect()
}

/// The hash of a file as it is now, good or bad.
pub(crate) fn hash_of(path: &Path) -> Option<String> {
    disk::read(path, disk::LONGEST).ok().map(|text| hash(&text))
}

fn hash(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

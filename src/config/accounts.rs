//! The files behind `[authentication]`: who may log in, and what nonces are signed with.
//!
//! Complaints name users, realms and lines; never a hash or a key.

use std::collections::HashSet;

use super::complaint::{Wrong, either, nearest, quoted};
use super::file::Written;
use super::listener::Draft;
use super::noncekey::NonceKeyError;
use super::places::folder_exists;
use super::sheet::Sheet;
use super::userfile::{HashKind, UserFile, UserFileError, UserLine};
use super::{Authentication, Client, noncekey};
use crate::exchange::{Algorithm, Scheme};

/// Reads the users file, where somebody needs it, and holds the clients' users against it.
pub(super) fn users(
    sheet: &Sheet,
    authentication: &mut Written<Authentication>,
    clients: &[Written<Client>],
    listeners: &[Written<Draft>],
) {
    // A certificate names a user too, and needs no line in the file.
    let certified = |listener: &Written<Draft>| listener.value.has_client_ca;
    let any_certified = listeners.iter().any(certified);
    let Authentication {
        required,
        users_file: path,
        realm,
        ..
    } = &authentication.value;
    let named = clients.iter().any(|client| !client.value.users.is_empty());
    let needed = *required && !listeners.iter().all(certified) || named && !any_certified;
    let wanted = *required || named || authentication.marks.has("users");
    if !(needed || wanted && path.exists()) {
        return;
    }
    let spot = authentication.marks.spot("users");
    let file = match UserFile::read(path) {
        Ok(file) => file,
        Err(UserFileError::Unreadable(err)) if err.is_missing() => {
            let why = if *required {
                "required = true"
            } else {
                "a [[client]] with users"
            };
            sheet.complain(
                &spot,
                Wrong::new(
                    format!("there is no file {}, and {why} needs it", path.display()),
                    format!("make it: tidegate passwd {} USER", path.display()),
                ),
            );
            return;
        }
        Err(UserFileError::Unreadable(err)) => {
            let wrong = err.wrong();
            let problem = format!("{} {}", path.display(), wrong.problem);
            sheet.complain(&spot, Wrong::new(problem, wrong.hint));
            return;
        }
        Err(UserFileError::Write { .. }) => return,
    };
    for (line, err) in file.bad_lines() {
        sheet.complain_of(
            path,
            line,
            "user",
            Wrong::new(
                format!("the line {err}"),
                "user:realm:hash, with 32 hex digits for MD5 or 64 for SHA-256; tidegate passwd writes them",
            ),
        );
    }
    let ours: Vec<UserLine> = file
        .lines()
        .filter(|line| line.realm == *realm)
        .cloned()
        .collect();
    if ours.is_empty() && (needed || file.lines().next().is_some()) {
        sheet.complain(&spot, nobody_of(realm, &file));
        return;
    }
    if !any_certified {
        unknown_users(sheet, clients, &ours);
    }
    authentication.value.users = ours;
    users_without_a_way_in(sheet, authentication);
}

fn nobody_of(realm: &str, file: &UserFile) -> Wrong {
    let mut realms: Vec<String> = file.lines().map(|line| quoted(&line.realm)).collect();
    realms.sort();
    realms.dedup();
    realms.truncate(5);
    if realms.is_empty() {
        return Wrong::new(
            "the file has no users",
            "tidegate passwd FILE USER adds one",
        );
    }
    Wrong::new(
        format!(
            "the file has no user of the realm {}, only of {}",
            quoted(realm),
            realms.join(", ")
        ),
        "set realm to one of those, or the passwords anew: the realm is part of each hash",
    )
}

fn unknown_users(sheet: &Sheet, clients: &[Written<Client>], lines: &[UserLine]) {
    let known: HashSet<&str> = lines.iter().map(|line| line.user.as_str()).collect();
    for client in clients {
        for user in &client.value.users {
            if known.contains(user.as_str()) {
                continue;
            }
            let hint = match nearest(user.as_str(), known.iter().copied()) {
                Some(meant) => format!("did you mean {}?", quoted(meant)),
                None => String::from("tidegate passwd FILE USER adds one"),
            };
            sheet.complain(
                &client.marks.spot("users"),
                Wrong::new(
                    format!(
                        "the users file has no {} of this realm",
                        quoted(user.as_str())
                    ),
                    hint,
                ),
            );
        }
    }
}

/// A user whose every line is of a kind that no scheme on offer can use.
fn users_without_a_way_in(sheet: &Sheet, authentication: &Written<Authentication>) {
    let Authentication {
        schemes,
        digest_algorithms,
        users,
        ..
    } = &authentication.value;
    if schemes.contains(&Scheme::Basic) {
        return;
    }
    let kinds: Vec<HashKind> = digest_algorithms
        .iter()
        .map(|algorithm| match algorithm {
            Algorithm::Md5 | Algorithm::Md5Sess => HashKind::Md5,
            Algorithm::Sha256 | Algorithm::Sha256Sess => HashKind::Sha256,
        })
        .collect();
    let able: HashSet<&str> = users
        .iter()
        .filter(|line| kinds.contains(&line.kind))
        .map(|line| line.user.as_str())
        .collect();
    let mut unable: Vec<String> = users
        .iter()
        .map(|line| line.user.as_str())
        .filter(|user| !able.contains(user))
        .map(quoted)
        .collect();
    unable.sort();
    unable.dedup();
    unable.truncate(5);
    if !unable.is_empty() {
        let algorithms: Vec<&str> = digest_algorithms.iter().map(|one| one.token()).collect();
        sheet.complain(
            &authentication.marks.spot("digest_algorithms"),
            Wrong::new(
                format!("{} can never log in: the users file has no line of theirs for {}", unable.join(", "), either(&algorithms)),
                "offer the other algorithm too, or set their passwords anew: tidegate passwd writes both kinds",
            ),
        );
    }
}

/// Reads the nonce keys; a file that is not there is made at start, so its folder must be.
pub(super) fn nonce_keys(sheet: &Sheet, authentication: &mut Written<Authentication>) {
    let Some(path) = &authentication.value.nonce_key_file else {
        return;
    };
    let spot = authentication.marks.spot("nonce_key_file");
    match noncekey::read(path) {
        Ok(keys) => authentication.value.nonce_keys = keys,
        Err(NonceKeyError::Unreadable(err)) if err.is_missing() && folder_exists(path) => {}
        Err(NonceKeyError::Unreadable(err)) if err.is_missing() => sheet.complain(
            &spot,
            Wrong::new(
                format!("the folder of {} does not exist", path.display()),
                "make it, and let the user that runs tidegate write there",
            ),
        ),
        Err(NonceKeyError::Unreadable(err)) => sheet.complain(&spot, err.wrong()),
        Err(err) => sheet.complain_of(
            path,
            err.line(),
            "nonce key",
            Wrong::new(
                err.to_string(),
                "one or two lines: a number up to 255, a space and 64 hex digits; or delete the file, and one is made",
            ),
        ),
    }
}

//! Where the proxy will write when it runs: the access log's file and the control socket.
//!
//! Looked at without opening or making anything. What only the user that runs the proxy can know is asked for the user
//! that checks.

use std::fs::{self, Metadata};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::complaint::{Wrong, quoted};
use super::{AccessSink, endpoint};

/// What the kernel's address of a socket holds (unix(7)), less its closing NUL.
const SOCKET_PATH_MAX: usize = 107;

/// "stdout", "off", a syslog URL; anything else is a file, and must look like one.
pub(super) fn access(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<AccessSink, Wrong> {
    match text {
        "stdout" => return Ok(AccessSink::Stdout),
        "off" => return Ok(AccessSink::Off),
        _ if text.contains("://") => return endpoint::collector(text).map(AccessSink::Syslog),
        _ => {}
    }
    if let Some((scheme, place)) = text.split_once(':')
        && endpoint::SYSLOG.contains(&scheme)
    {
        let place = place.trim_start_matches('/');
        return Err(Wrong::new(
            format!("{} is no syslog URL, for want of slashes", quoted(text)),
            format!(r#"write "{scheme}://{place}"; or "./{text}" for a file of that name"#),
        ));
    }
    if !text.contains(['/', '.']) {
        return Err(Wrong::new(
            format!("cannot be {}", quoted(text)),
            format!(
                r#"it is "stdout", "off", a file or a syslog URL; write "./{text}" for a file of that name"#
            ),
        ));
    }
    let path = resolve(text);
    if path.is_dir() {
        return Err(Wrong::new(
            format!("{} is a folder", quoted(text)),
            "name a file inside it",
        ));
    }
    if fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
        return Err(Wrong::new(
            format!("{} is a socket", quoted(text)),
            r#"name a file or a named pipe; a syslog collector is "syslog://HOST""#,
        ));
    }
    if !folder_exists(&path) {
        return Err(Wrong::new(
            format!("the folder of {} does not exist", quoted(text)),
            "make it, and let the user that runs tidegate write there",
        ));
    }
    let place = if path.exists() { &path } else { folder(&path) };
    if !may_write(place) {
        return Err(Wrong::new(
            format!("{} may not be written", quoted(text)),
            "let the user that runs tidegate write it; check as that user",
        ));
    }
    Ok(AccessSink::File(path))
}

/// Whether a socket could be made there. That its folder is missing is no complaint: a service manager makes it.
pub(super) fn control_socket(path: &Path) -> Result<(), Wrong> {
    let shown = || quoted(&path.to_string_lossy());
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Wrong::new(
            "is too long a path for a socket",
            format!("at most {SOCKET_PATH_MAX} bytes, its folder included"),
        ));
    }
    // What a link leads to does not matter: the socket is made in its place, or not at all.
    let is_no_socket = |found: Metadata| !found.file_type().is_socket();
    if fs::symlink_metadata(path).is_ok_and(is_no_socket) {
        return Err(Wrong::new(
            format!("{} is there already, and is no socket", shown()),
            "name a file that does not exist; tidegate makes it, and removes it at its end",
        ));
    }
    let folder = folder(path);
    if !folder.exists() {
        return Ok(());
    }
    if !folder.is_dir() {
        return Err(Wrong::new(
            format!("{} is in a file, which is no folder", shown()),
            "name a file in a folder",
        ));
    }
    if !may_write(folder) {
        return Err(Wrong::new(
            format!("the folder of {} may not be written", shown()),
            "let the user that runs tidegate write there; check as that user",
        ));
    }
    Ok(())
}

pub(crate) fn folder_exists(path: &Path) -> bool {
    folder(path).is_dir()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Asked without opening: a pipe has a reader that would notice.
fn may_write(place: &Path) -> bool {
    let wanted = if place.is_dir() {
        Access::WRITE_OK | Access::EXEC_OK
    } else {
        Access::WRITE_OK
    };
    rustix::fs::access(place, wanted).is_ok()
}

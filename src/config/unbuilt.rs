//! What the configuration knows and the program does not do yet.
//!
//! Such a key is read and checked like any other; set to more than its default it is refused, so that it never
//! silently does nothing. Whoever builds one deletes its row.

/// Keys without the number or name of their table.
pub(super) const UNBUILT: &[&str] = &[
    "listener.tls.ticket_key_file",
    "listener.tls.http2",
    "drain.upgrade_grace",
    "drain.release_idle_first",
];

//! What the configuration knows and the program does not do yet.
//!
//! Such a key is read and checked like any other; set to more than its default it is refused, so that it never
//! silently does nothing. Whoever builds one deletes its row.

/// How much of a key is still to be built.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unbuilt {
    /// Every value but the default.
    Whole,
}

use Unbuilt::Whole;

/// Keys without the number or name of their table.
pub(super) const UNBUILT: &[(&str, Unbuilt)] = &[
    ("listener.tls.ticket_key_file", Whole),
    ("listener.tls.http2", Whole),
    ("drain.upgrade_grace", Whole),
    ("drain.release_idle_first", Whole),
];

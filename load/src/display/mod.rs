//! What a person sees.

pub mod frame;
pub mod table;

use std::error::Error;

pub use self::frame::Frame;
pub use self::table::Table;

/// An error with all its causes.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

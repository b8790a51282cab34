//! What a person sees.

pub mod frame;

pub use self::frame::Frame;

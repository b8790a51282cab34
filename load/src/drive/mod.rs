//! When pushes are due, and the loop that starts each on time whatever became of those before it.

pub mod pace;
pub mod steps;
pub mod worker;

pub use self::pace::Pace;
pub use self::steps::Steps;
pub use self::worker::drive;

//! Numbers out of pushes: latencies, outcomes, a summary. Knows nothing of servers or proxies.

pub mod histogram;
pub mod summary;
pub mod tally;

pub use self::histogram::Latencies;
pub use self::summary::Summary;
pub use self::tally::Tally;

//! Simulated call servers: they onboard, fetch a token, and push through a proxy over tunnels they keep open, or in
//! absolute form over connections to the proxy that they keep just so.
//!
//! They behave as the vendor's servers do: a push is never sent again when the connection under it breaks; a
//! connection found closed is opened anew before the next push; the confirmation is waited for 5 s, and the
//! proxy's next address is tried after 2 s. They reach nothing but the proxy. The deployment guide's counters and alarms they
//! keep as the component that each plays, of what they do themselves: also of pushes that nobody else can see.

pub mod proxy_client;
pub mod seal;
pub mod tls;

mod absolute;
mod ask;
mod books;
mod challenge;
mod connection;
mod control;
mod counts;
mod moves;
mod outcome;
mod plan;
mod reply;
mod server;
mod tunnel;
mod wire;

pub use self::absolute::AbsoluteForm;
pub use self::books::Books;
pub use self::challenge::Taste;
pub use self::control::control;
pub use self::counts::{Counted, Counts};
pub use self::outcome::{Outcome, ServerError};
pub use self::plan::{PushLabel, ServerPlan};
pub use self::proxy_client::{ConnectError, ProxyClient, Refused};
pub use self::server::Server;
pub use self::tunnel::Tunnel;

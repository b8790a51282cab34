//! A network namespace of our own, in which packets to some addresses are dropped, and a thread that lives in it.
//!
//! It takes root and iproute2; where there is none, the reason is handed back, and nothing is left behind.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::world::NOWHERE;

/// Gone when dropped.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// Loopback works in it, and [`NOWHERE`] is on a link where nobody is.
    pub(super) fn new() -> Result<Self, String> {
        let name = format!("tgload{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name };
        let name = &namespace.name;
        let [a, b, c] = NOWHERE;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!(
            "-n {name} link add nowhere type veth peer name nobody"
        ))?;
        // Nobody is asked who has an address: packets leave, and the other end, which has none, drops them.
        ip(&format!("-n {name} link set nowhere arp off"))?;
        ip(&format!("-n {name} link set nobody up"))?;
        ip(&format!(
            "-n {name} address add {a}.{b}.{c}.1/24 dev nowhere"
        ))?;
        ip(&format!("-n {name} link set nowhere up"))?;
        Ok(namespace)
    }

    /// Does it on a thread in here, and waits. Where the waiting ends early, so does what is waited for.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let inside = File::open(format!("/run/netns/{}", self.name))?;
        let (mut done, result) = oneshot::channel();
        let thread = thread::spawn(move || {
            let place = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(inside.as_fd(), place)?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let ended = runtime.block_on(async {
                tokio::select! {
                    ended = work() => Some(ended),
                    () = done.closed() => None,
                }
            });
            if let Some(ended) = ended {
                let _ = done.send(ended);
            }
            Ok(())
        });
        let mut waiting = Waiting {
            result: Some(result),
            thread: Some(thread),
        };
        let result = match &mut waiting.result {
            Some(result) => result.await.ok(),
            None => None,
        };
        match (result, waiting.join()) {
            (Some(result), _) => Ok(result),
            (None, Some(Err(error))) => Err(error),
            (None, _) => Err(io::Error::other("the thread in the namespace ended early")),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One that stays does no harm; there is nobody left to tell.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Ends the thread with us, so that what it has started ends too.
struct Waiting<T> {
    result: Option<oneshot::Receiver<T>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl<T> Waiting<T> {
    fn join(&mut self) -> Option<io::Result<()>> {
        self.result = None;
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", said.trim()))
}

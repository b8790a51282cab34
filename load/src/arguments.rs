//! The command line, and what its words mean.

mod bench;
mod onprem;
mod run;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tidegate_load::cloud::{Behavior, CloudPlan, Hosts};
use tidegate_load::demo::{ABSOLUTE_SHARE, DemoPlan};

pub(crate) use self::bench::{Bench, Measured, Relay};
pub(crate) use self::onprem::Onprem;
pub(crate) use self::run::{Errand, Plan, Run};

/// Simulated push cloud, call servers and names around a tidegate proxy.
#[derive(Debug, Parser)]
#[command(name = "tidegate-load", version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a simulated push cloud until interrupted
    Cloud(Cloud),
    /// Run a DNS server with a small zone until interrupted
    Names(Names),
    /// Run call servers that push through a proxy, and print what became of it
    Onprem(Onprem),
    /// Run a TCP relay that does nothing else, until interrupted
    Relay(Relay),
    /// Measure the proxy beside the relay, both as processes of their own on loopback
    Bench(Bench),
    /// Run everything around a real tidegate process for a few seconds, and judge it
    Demo(Demo),
    /// Play a scenario around real tidegate processes (a storm of logins, dying addresses and DNS, or the times of answers), and judge it
    Run(Run),
    /// What a run's drivers do; the run starts them
    #[command(hide = true)]
    Errand(Errand),
}

#[derive(Debug, Args)]
#[command(after_long_help = CLOUD_CONTROL)]
pub(crate) struct Cloud {
    /// How many loopback addresses, from 127.0.0.11 on
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=200))]
    addresses: u8,
    /// These addresses instead, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "IP")]
    listen: Vec<IpAddr>,
    /// The port on all of them; 0: any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Answer in clear too, on this port of all of them; 0: any free one
    #[arg(long)]
    plain_port: Option<u16>,
    /// Where the CA certificate to trust is written
    #[arg(long, default_value = "cloud-ca.pem", value_name = "FILE")]
    pub(crate) ca: PathBuf,
    /// The names of Push REST, tokens and onboarding
    #[arg(long, num_args = 3, value_names = ["PUSH", "TOKEN", "ONBOARD"])]
    hosts: Vec<String>,
    /// How long it thinks before it answers, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    answer_after: u64,
    /// What an address does: INDEX=ok, silent, refuse, reset, reset-tls, hang or slow:MS; may be repeated
    #[arg(long = "behavior", value_parser = behavior, value_name = "INDEX=WHAT")]
    pub(crate) behaviors: Vec<(usize, Behavior)>,
    /// Where orders are taken while it runs, on loopback
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) control: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_long_help = NAMES_CONTROL)]
pub(crate) struct Names {
    /// Where to listen, UDP and TCP
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    /// A name and its addresses: push.test=127.0.0.11,127.0.0.12; may be repeated
    #[arg(long = "name", value_parser = name, value_name = "NAME=IP,…")]
    pub(crate) names: Vec<(String, Vec<IpAddr>)>,
    /// How long answers may be kept, in seconds
    #[arg(long, default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) ttl: Duration,
    /// Where orders are taken while it runs, on loopback
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) control: Option<SocketAddr>,
}

const CLOUD_CONTROL: &str = r#"With --control 127.0.0.1:9001, from any shell:
  curl 127.0.0.1:9001/
  curl -X PUT 127.0.0.1:9001/addresses/127.0.0.12 -d '{"behavior":"hang"}'
  curl -X POST 127.0.0.1:9001/addresses/127.0.0.12/drop
The first shows every address, the last resets its open connections. Behaviors:
  ok         accepts and answers
  slow:MS    answers so much later
  silent     accepts, and never says anything
  refuse     nobody listens
  reset      accepts, and resets at once
  reset-tls  resets when the TLS handshake is done
  hang       a connect gets no answer
The last four reset what is open as well."#;

const NAMES_CONTROL: &str = r#"With --control 127.0.0.1:9002, from any shell:
  curl 127.0.0.1:9002/
  curl -X PUT 127.0.0.1:9002/names/push.test -d '{"addresses":["127.0.0.11","127.0.0.12"]}'
  curl -X PUT 127.0.0.1:9002/names/push.test -d '{"turns":[["127.0.0.11"],["127.0.0.12"]]}'
  curl -X PUT 127.0.0.1:9002/names/push.test -d '{"behavior":"servfail","delay_ms":300}'
  curl -X PUT 127.0.0.1:9002/names/push.test -d '{"aaaa":"silent"}'
  curl -X DELETE 127.0.0.1:9002/names/push.test
  curl -X PUT 127.0.0.1:9002/server -d '{"behavior":"silent"}'
"turns" answers with another set each time. A behavior is of both kinds of query, "a" and "aaaa" are of one; the
server's is of every name. They are ok, servfail, silent, nxdomain, and truncated (over UDP; TCP works). What is left
out stays as it was, but new addresses work at once."#;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The tidegate program; without it, the one next to this program
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// How long pushes are sent
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// The cloud swallows one push: the demo must notice, and fail
    #[arg(long = "break")]
    breaks: bool,
    /// How many pushes in a hundred go in absolute form (http and https by turns), not through a tunnel
    #[arg(long, default_value_t = ABSOLUTE_SHARE, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    absolute_share: u8,
    /// JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cloud {
    pub(crate) fn plan(&self) -> CloudPlan {
        let plan = CloudPlan::new()
            .addresses(self.addresses)
            .port(self.port)
            .answer_after(Duration::from_millis(self.answer_after));
        let plan = match self.plain_port {
            Some(port) => plan.plain_port(port),
            None => plan,
        };
        let plan = match self.hosts.as_slice() {
            [push, token, onboard] => plan.hosts(Hosts {
                push: push.clone(),
                token: token.clone(),
                onboard: onboard.clone(),
            }),
            _ => plan,
        };
        if self.listen.is_empty() {
            plan
        } else {
            plan.listen_on(self.listen.iter().copied())
        }
    }
}

impl Demo {
    pub(crate) fn plan(&self) -> DemoPlan {
        DemoPlan {
            proxy: self.proxy.clone(),
            length: self.seconds,
            breaks: self.breaks,
            absolute_share: self.absolute_share,
        }
    }
}

fn behavior(text: &str) -> Result<(usize, Behavior), String> {
    let (index, what) = text.split_once('=').ok_or("INDEX=WHAT is expected")?;
    let index = index
        .parse()
        .map_err(|_| format!("{index:?} is no index"))?;
    Ok((index, what.parse()?))
}

fn name(text: &str) -> Result<(String, Vec<IpAddr>), String> {
    let (name, addresses) = text.split_once('=').ok_or("NAME=IP,… is expected")?;
    let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
    let addresses = addresses.map_err(|_| format!("{text:?}: addresses are expected behind ="))?;
    Ok((name.to_owned(), addresses))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|length| (1..=86_400).contains(&length.as_secs()))
        .ok_or_else(|| "a number of seconds is expected, 1 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn behaviors_are_read() {
        let check = |text, expected| assert_eq!(behavior(text).ok(), expected, "{text}");
        check("0=hang", Some((0, Behavior::Hang)));
        check(
            "2=slow:150",
            Some((2, Behavior::Slow(Duration::from_millis(150)))),
        );
        check("hang", None);
        check("0=slow", None);
        check("0=hang:3", None);
    }
}

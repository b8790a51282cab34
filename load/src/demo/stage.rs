//! The proxy's files in a folder of their own: configuration, users, certificate. The folder goes when this goes.
//!
//! Keys and formats are written as the proxy's manual says, with code of our own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::COMPONENTS;
use crate::child::login::{random_hex, user_lines};
use crate::child::{Child, ChildError, Folder, free_addresses};
use crate::cloud::ca::ThrowAwayCa;
use crate::cloud::{self, Hosts};
use crate::onprem::Taste;

const REALM: &str = "tidegate demo";
/// Who calls: on both listeners Digest of both algorithms, and on the TLS one also Basic, asked for and unasked.
const TASTES: [Taste; 8] = [
    Taste::First,
    Taste::Md5,
    Taste::Sha256,
    Taste::Sha256,
    Taste::First,
    Taste::Sha256,
    Taste::Basic,
    Taste::BasicAtOnce,
];

/// A call server's login.
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) taste: Taste,
}

impl Caller {
    pub(super) fn new(user: &str, taste: Taste) -> Self {
        Self {
            user: user.to_owned(),
            password: random_hex(),
            taste,
        }
    }
}

/// Everything that the proxy reads, and where it will listen.
pub(super) struct Stage {
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Signed the TLS listener's certificate.
    pub(super) ca_pem: String,
    pub(super) callers: Vec<Caller>,
    pub(super) config: PathBuf,
    pub(super) folder: Folder,
}

impl Stage {
    pub(super) fn set(cloud: &cloud::Running, dns: SocketAddr) -> io::Result<Self> {
        let folder = Folder::new()?;
        let callers = callers();
        let users: String = callers
            .iter()
            .map(|caller| user_lines(&caller.user, REALM, &caller.password))
            .collect();
        fs::write(folder.path("users.htdigest"), users)?;

        let ca = ThrowAwayCa::new("tidegate-load demo CA").map_err(io::Error::other)?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let identity = ca.issue(&names).map_err(io::Error::other)?;
        fs::write(folder.path("proxy.pem"), &identity.chain_pem)?;
        fs::write(folder.path("proxy.key"), &identity.key_pem)?;

        let [plain, tls, admin] = free_addresses()?;
        let config = folder.path("tidegate.toml");
        fs::write(folder.path("cloud-ca.pem"), cloud.ca_pem())?;
        fs::write(&config, configuration(cloud, dns, [plain, tls, admin]))?;
        Ok(Self {
            plain,
            tls,
            admin,
            ca_pem: ca.pem(),
            callers,
            config,
            folder,
        })
    }

    pub(super) fn start_proxy(&self, program: &Path) -> Result<Child, ChildError> {
        let arguments = ["run".as_ref(), "--config".as_ref(), self.config.as_os_str()];
        Child::start("proxy", program, arguments, &self.folder)
    }
}

fn configuration(
    cloud: &cloud::Running,
    dns: SocketAddr,
    [plain, tls, admin]: [SocketAddr; 3],
) -> String {
    let Hosts {
        push,
        token,
        onboard,
    } = cloud.hosts();
    // In absolute form the proxy itself speaks TLS to the cloud, and must trust it.
    let (ports, trust) = match cloud.plain_port() {
        None => (format!("[{}]", cloud.port()), ""),
        Some(in_clear) => (
            format!("[{}, {in_clear}]", cloud.port()),
            "ca = \"cloud-ca.pem\"\n",
        ),
    };
    let callers = callers();
    let (calls, chats) = callers.split_at(callers.len() / 2);
    let users = |callers: &[Caller]| {
        let users = callers.iter().map(|caller| format!("{:?}", caller.user));
        users.collect::<Vec<_>>().join(", ")
    };
    let (calls, chats) = (users(calls), users(chats));
    let [calls_are, chats_are] = COMPONENTS;
    format!(
        r#"[[listener]]
name = "plain"
address = "{plain}"

[[listener]]
name = "tls"
address = "{tls}"
[listener.tls]
certificate = "proxy.pem"
private_key = "proxy.key"

[admin]
address = "{admin}"

[authentication]
required = true
realm = "{REALM}"
users = "users.htdigest"

[[client]]
name = "calls"
users = [{calls}]
component = "{calls_are}"

[[client]]
name = "chats"
users = [{chats}]
component = "{chats_are}"

[[destination]]
name = "lab"
hosts = ["{push}", "{token}", "{onboard}"]
ports = {ports}
role = "push"
networks = ["127.0.0.0/8"]
{trust}
[dns]
servers = ["{dns}"]

[log]
access = "access.log"

[probe]
interval = "off"
"#
    )
}

/// The people and passwords of one run.
fn callers() -> Vec<Caller> {
    TASTES
        .iter()
        .enumerate()
        .map(|(index, taste)| Caller::new(&format!("cucm{}", index + 1), *taste))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::{Cloud, CloudPlan};

    async fn stage(plan: CloudPlan) -> (Stage, Option<u16>) {
        let cloud = Cloud::start(plan).await.unwrap();
        let stage = Stage::set(&cloud, ([127, 0, 0, 1], 53).into()).unwrap();
        (stage, cloud.plain_port())
    }

    #[tokio::test]
    async fn the_folder_goes_with_its_owner() {
        let (stage, _) = stage(CloudPlan::new()).await;
        let root = stage.folder.path("");
        assert!(root.join("tidegate.toml").is_file());
        assert_ne!(stage.plain, stage.tls);
        drop(stage);
        assert!(!root.exists());
    }

    #[tokio::test]
    async fn only_for_absolute_form_the_proxy_needs_another_port_and_trust() {
        let (alone, _) = stage(CloudPlan::new()).await;
        let text = fs::read_to_string(alone.config).unwrap();
        assert!(!text.contains("ca = "), "{text}");
        let (both, port) = stage(CloudPlan::new().plain_port(0)).await;
        let text = fs::read_to_string(both.config).unwrap();
        assert!(text.contains("ca = \"cloud-ca.pem\""), "{text}");
        assert!(text.contains(&format!(", {}]", port.unwrap())), "{text}");
        assert!(both.folder.path("cloud-ca.pem").is_file());
    }
}

//! The proxy's files in a folder of their own: configuration, users, certificate. The folder goes when this goes.
//!
//! Keys and formats are written as the proxy's manual says, with code of our own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::{fs, io, process};

use md5::{Digest as _, Md5};

use super::callers;
use crate::cloud::Hosts;
use crate::cloud::ca::ThrowAwayCa;
use crate::onprem::Taste;

const REALM: &str = "tidegate demo";

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
    pub(super) fn set(hosts: &Hosts, cloud_port: u16, dns: SocketAddr) -> io::Result<Self> {
        let folder = Folder::new()?;
        let callers = callers();
        let users: String = callers.iter().map(user_lines).collect();
        fs::write(folder.path("users.htdigest"), users)?;

        let ca = ThrowAwayCa::new("tidegate-load demo CA").map_err(io::Error::other)?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let identity = ca.issue(&names).map_err(io::Error::other)?;
        fs::write(folder.path("proxy.pem"), &identity.chain_pem)?;
        fs::write(folder.path("proxy.key"), &identity.key_pem)?;

        let [plain, tls, admin] = free_addresses()?;
        let config = folder.path("tidegate.toml");
        fs::write(
            &config,
            configuration(hosts, cloud_port, dns, [plain, tls, admin]),
        )?;
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
}

/// A folder that only we can look into, removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("tidegate-demo-{}-{}", process::id(), &random_hex()[..8]);
        let path = std::env::temp_dir().join(name);
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed stays in the temporary folder; there is nobody left to tell.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn configuration(
    hosts: &Hosts,
    cloud_port: u16,
    dns: SocketAddr,
    [plain, tls, admin]: [SocketAddr; 3],
) -> String {
    let Hosts {
        push,
        token,
        onboard,
    } = hosts;
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

[[destination]]
name = "lab"
hosts = ["{push}", "{token}", "{onboard}"]
ports = [{cloud_port}]
role = "push"
networks = ["127.0.0.0/8"]

[dns]
servers = ["{dns}"]

[log]
access = "access.log"
"#
    )
}

/// `user:realm:HA1` with MD5 and with SHA-256.
fn user_lines(caller: &Caller) -> String {
    let Caller { user, password, .. } = caller;
    let secret = format!("{user}:{REALM}:{password}");
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let md5 = hex(&Md5::digest(&secret));
    format!(
        "{user}:{REALM}:{md5}\n{user}:{REALM}:{}\n",
        hex(sha256.as_ref())
    )
}

/// Three free ports: held together, so that they differ, and let go for the proxy.
fn free_addresses() -> io::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?, bind()?];
    let [a, b, c] = held.each_ref().map(TcpListener::local_addr);
    Ok([a?, b?, c?])
}

fn random_hex() -> String {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random bytes");
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_written_with_both_hashes() {
        let caller = Caller {
            user: "Mufasa".into(),
            password: "Circle of Life".into(),
            taste: Taste::First,
        };
        // md5sum and sha256sum of "Mufasa:tidegate demo:Circle of Life".
        assert_eq!(
            user_lines(&caller),
            "Mufasa:tidegate demo:4ea9bbe499da6e002184c13cab6632d8\nMufasa:tidegate demo:b5a43ca04e30e146ad2bc4c919b411fcc3911adf394cab374a76d6c326828a70\n"
        );
    }

    #[test]
    fn the_folder_goes_with_its_owner() {
        let stage = Stage::set(&Hosts::default(), 443, ([127, 0, 0, 1], 53).into()).unwrap();
        let root = stage.folder.path("");
        assert!(root.join("tidegate.toml").is_file());
        assert_ne!(stage.plain, stage.tls);
        drop(stage);
        assert!(!root.exists());
    }
}

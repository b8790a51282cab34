//! The control socket: reload, drain and status for whoever may open it.
//!
//! One line of request, one line of JSON as the answer, then the end. Who asks is what the kernel says. But for a silence
//! of alarms it changes nothing by itself: orders go to the control thread's loop.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ACCEPT_PAUSE, Window, status};
use crate::config::units::duration_of;
use crate::lifecycle::orders::{Answer, Asked, By, Order, Refused, Silence};
use crate::telemetry::{Moment, Timestamp};

/// Connections at a time; more wait in the backlog.
const CONNECTIONS_MAX: usize = 8;
const BACKLOG: i32 = 16;
const REQUEST_MAX: u64 = 4 * 1024;
/// For a request to come, and for an answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);
/// A reload reads files; a disk that takes longer is broken.
const LONGEST_ORDER: Duration = Duration::from_secs(60);
/// Owner and group, nobody else.
const MODE: u32 = 0o660;
/// How long deliveries of alarms may be held back.
const SILENCE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("another running tidegate has it; give each a socket of its own")]
    Taken,
    #[error("there is something else of this name, which is no socket")]
    NoSocket,
    #[error("its folder does not exist; make it, or have systemd do so (RuntimeDirectory=)")]
    NoFolder,
    #[error("it cannot be made")]
    Io(#[source] io::Error),
}

/// The socket, bound; its file is removed with it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    /// Another process may have put its own in this place.
    file: FileId,
    listener: Option<StdListener>,
}

/// Device, inode, and the last change of it: the number of a removed inode is soon another file's.
type FileId = (u64, u64, i64, i64);

impl ControlSocket {
    /// Binds. What a dead process left behind is replaced, and a live one's socket is not.
    pub(crate) fn bind(path: &Path) -> Result<Self, ControlError> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NoSocket),
            Ok(_) if is_answered(path) => return Err(ControlError::Taken),
            Ok(_) => fs::remove_file(path).map_err(ControlError::Io)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !path
                    .parent()
                    .is_none_or(|folder| folder.as_os_str().is_empty() || folder.exists())
                {
                    return Err(ControlError::NoFolder);
                }
            }
            Err(error) => return Err(ControlError::Io(error)),
        }
        let bind = || -> io::Result<Self> {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            // Nobody can connect before it listens: it is never open to more than these.
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
            let file = file_id(path)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(Self {
                path: path.to_owned(),
                file,
                listener: Some(socket.into()),
            })
        };
        bind().map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ControlError::Taken,
            _ => ControlError::Io(error),
        })
    }

    /// The listening socket, once.
    pub(crate) fn take(&mut self) -> Option<StdListener> {
        self.listener.take()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours = file_id(&self.path).is_ok_and(|now| now == self.file);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

fn is_answered(path: &Path) -> bool {
    // Never waits: a live process with a full queue is still a live one.
    let ask = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match ask() {
        Ok(()) => true,
        // Only this says that nobody listens; one that we may not ask is somebody's.
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    }
}

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve(
    listener: UnixListener,
    window: Arc<Window>,
    orders: mpsc::Sender<Asked>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => accepted,
            Some(_ended) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                open.spawn(connection(stream, Arc::clone(&window), orders.clone()));
            }
            Err(error) => {
                tracing::debug!(error = %error, "the control socket can't accept, it tries again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, window: Arc<Window>, orders: mpsc::Sender<Asked>) {
    let Ok(peer) = stream.peer_cred() else { return };
    let by = By::Process {
        uid: peer.uid(),
        pid: peer.pid(),
    };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut request = (&mut stream).take(REQUEST_MAX);
    let answer = match timeout(PATIENCE, request.read_until(b'\n', &mut line)).await {
        // Somebody who only looked whether we are there.
        Ok(Ok(0) | Err(_)) => return,
        Ok(Ok(_)) if line.ends_with(b"\n") => {
            let words = String::from_utf8_lossy(&line);
            answer(words.trim(), by, &window, &orders).await
        }
        Ok(Ok(_)) => refuse("the request is longer than 4 KiB, or has no end of line"),
        Err(_) => refuse("no request came in time"),
    };
    let Ok(mut text) = serde_json::to_vec(&answer) else {
        return;
    };
    text.push(b'\n');
    let _ = timeout(PATIENCE, async {
        stream.write_all(&text).await?;
        stream.shutdown().await
    })
    .await;
}

async fn answer(words: &str, by: By, window: &Arc<Window>, orders: &mpsc::Sender<Asked>) -> Answer {
    let order = match words {
        "status" => return status::answer(window, false).await,
        "status --clients" => return status::answer(window, true).await,
        "silence" => return silence(None, by, window),
        _ if words.starts_with("silence ") => {
            let wanted = words.trim_start_matches("silence ").trim();
            return silence(Some(wanted), by, window);
        }
        "reload" => Order::Reload,
        "drain" => Order::Drain,
        "upload" => Order::Upload,
        _ => {
            return refuse(
                "unknown command; there are reload, drain, upload, silence, status, status --clients",
            );
        }
    };
    let (answer, answered) = oneshot::channel();
    let asked = Asked { order, by, answer };
    if orders.try_send(asked).is_err() {
        return refuse("too many orders at a time; try again");
    }
    match timeout(LONGEST_ORDER, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            refuse("not done: the proxy has other orders to carry out first, or is ending")
        }
        Err(_) => refuse("not done yet; the journal will tell what came of it"),
    }
}

/// Holds deliveries of alarms back for a while, or no longer; without a wish it only tells.
fn silence(wanted: Option<&str>, by: By, window: &Window) -> Answer {
    let now = Moment::now();
    let until = match wanted {
        None => window.alarms.silenced(now),
        Some("off") => None,
        Some(time) => match duration_of(time) {
            Some(time) if SILENCE.contains(&time) => Some(now + time),
            _ => return refuse("say for how long, from 1s to 7d (\"2h\"), or \"off\""),
        },
    };
    if wanted.is_some() {
        window.alarms.silence(until);
        let until = until.map(|until| Timestamp(until.wall).to_string());
        tracing::info!(
            action = "silence", %by, uid = by.uid(), pid = by.pid(), until = until.as_deref(),
            "deliveries of alarms are held back until then, or no longer"
        );
    }
    Answer::Silence(Silence {
        until: until.map(|until| Timestamp(until.wall).to_string()),
        active: window.alarms.active(),
    })
}

fn refuse(why: &str) -> Answer {
    Answer::Refused(Refused::because(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let mut tag = [0; 6];
            aws_lc_rs::rand::fill(&mut tag).unwrap();
            let name: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
            let folder = std::env::temp_dir().join(format!("tg-{name}"));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new();
        let path = folder.0.join("control.sock");
        let mut live = ControlSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(
            ControlSocket::bind(&path),
            Err(ControlError::Taken)
        ));
        // A process that was killed closes its sockets and leaves their files.
        drop(live.take());
        let mut next = ControlSocket::bind(&path).unwrap();
        while next.file == live.file {
            // The same inode, within one tick of the clock.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            next.file = file_id(&path).unwrap();
        }
        drop(live);
        assert!(path.exists(), "the file of another process was removed");
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_not_touched() {
        let folder = Folder::new();
        let path = folder.0.join("control.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(
            ControlSocket::bind(&path),
            Err(ControlError::NoSocket)
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let nowhere = folder.0.join("no/control.sock");
        assert!(matches!(
            ControlSocket::bind(&nowhere),
            Err(ControlError::NoFolder)
        ));
    }
}

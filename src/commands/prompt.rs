//! Asking for a password: from a terminal twice and unseen, from a pipe as one line.
//!
//! A password is never a command line argument, where every process of the machine could read it.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// In bytes.
const LONGEST: usize = 1024;

#[derive(Debug)]
pub(crate) enum PromptError {
    Empty,
    TooLong,
    NotUtf8,
    Control,
    Differ,
    Input(io::Error),
}

/// A password from standard input; what is asked is written to `prompts`.
pub(crate) fn password(prompts: &mut dyn Write) -> Result<String, PromptError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let mut lines = stdin.lock();
        twice(&mut lines, stdin.as_fd(), prompts)
    } else {
        one_line(&mut stdin.lock())
    }
}

/// A password that exists already: asked for once.
pub(crate) fn known_password(prompts: &mut dyn Write) -> Result<String, PromptError> {
    let stdin = io::stdin();
    let mut lines = stdin.lock();
    if !stdin.is_terminal() {
        return one_line(&mut lines);
    }
    let _unseen = Unseen::begin(stdin.as_fd())?;
    prompts.write_all(b"Password: ")?;
    prompts.flush()?;
    one_line(&mut lines)
}

fn twice(
    lines: &mut dyn BufRead,
    terminal: BorrowedFd<'_>,
    prompts: &mut dyn Write,
) -> Result<String, PromptError> {
    let _unseen = Unseen::begin(terminal)?;
    let mut ask = |prompt: &str| {
        prompts.write_all(prompt.as_bytes())?;
        prompts.flush()?;
        one_line(lines)
    };
    let password = ask("New password: ")?;
    if ask("The same again: ")? != password {
        return Err(PromptError::Differ);
    }
    Ok(password)
}

fn one_line(lines: &mut dyn BufRead) -> Result<String, PromptError> {
    let mut line = Vec::new();
    // One more than fits, and the line's end in either form.
    let mut bounded = lines.take(LONGEST as u64 + 3);
    bounded.read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.is_empty() {
        return Err(PromptError::Empty);
    }
    if line.len() > LONGEST {
        return Err(PromptError::TooLong);
    }
    let password = String::from_utf8(line).map_err(|_| PromptError::NotUtf8)?;
    if password.chars().any(char::is_control) {
        return Err(PromptError::Control);
    }
    Ok(password)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Unseen<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut unseen = before.clone();
        // Without signals too: an interrupt would leave the user's shell blind.
        unseen
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &unseen)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing left to show.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

impl From<io::Error> for PromptError {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the password is empty"),
            Self::TooLong => write!(f, "the password is longer than {LONGEST} bytes"),
            Self::NotUtf8 => f.write_str("the password is not UTF-8"),
            Self::Control => f.write_str("the password has control characters"),
            Self::Differ => f.write_str("the two passwords differ"),
            Self::Input(_) => f.write_str("no password can be read"),
        }
    }
}

impl std::error::Error for PromptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input(error) => Some(error),
            Self::Empty | Self::TooLong | Self::NotUtf8 | Self::Control | Self::Differ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::BufReader;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    #[track_caller]
    fn check(input: &[u8], want: &str) {
        let got = match one_line(&mut &*input) {
            Ok(password) => password,
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn a_line_is_a_password() {
        check(b"secret\n", "secret");
        check(b"secret\r\nmore\n", "secret");
        check(b"no end", "no end");
        check(b" a:b \n", " a:b ");
        check("süß\n".as_bytes(), "süß");
        check(b"", "Empty");
        check(b"\n", "Empty");
        check(b"s\xFC\n", "NotUtf8");
        check(b"a\x03b\n", "Control");
        check(&[b'a'; LONGEST], &"a".repeat(LONGEST));
        check(&[b'a'; LONGEST + 1], "TooLong");
        check(&[b'a'; 10 * LONGEST], "TooLong");
    }

    /// A terminal, and somebody who types a line at every prompt.
    struct Typist {
        keyboard: File,
        lines: Vec<&'static str>,
        prompts: Vec<u8>,
    }

    impl Write for Typist {
        fn write(&mut self, prompt: &[u8]) -> io::Result<usize> {
            self.prompts.extend(prompt);
            self.keyboard.write_all(self.lines.remove(0).as_bytes())?;
            Ok(prompt.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is read from a terminal when these lines are typed, and what its screen shows.
    fn typed(lines: [&'static str; 2]) -> (Result<String, PromptError>, String) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let mut keyboard = File::from(master);
        let mut typist = Typist {
            keyboard: keyboard.try_clone().unwrap(),
            lines: lines.to_vec(),
            prompts: Vec::new(),
        };
        let mut reader = BufReader::new(slave.try_clone().unwrap());
        let result = twice(&mut reader, slave.as_fd(), &mut typist);
        let echo = tcgetattr(&slave).unwrap().local_modes;
        assert!(echo.contains(LocalModes::ECHO | LocalModes::ISIG));
        assert_eq!(typist.prompts, b"New password: The same again: ");
        // Whatever was echoed stands before this mark.
        (&slave).write_all(b"!").unwrap();
        let mut screen = Vec::new();
        while screen.last() != Some(&b'!') {
            let mut byte = [0];
            keyboard.read_exact(&mut byte).unwrap();
            screen.extend(byte);
        }
        (result, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn a_terminal_asks_twice_and_shows_nothing() {
        let (password, screen) = typed(["secret\n", "secret\n"]);
        assert_eq!(password.unwrap(), "secret");
        assert_eq!(screen, "\r\n\r\n!");
        let (password, screen) = typed(["secret\n", "Secret\n"]);
        assert!(matches!(password, Err(PromptError::Differ)));
        assert_eq!(screen, "\r\n\r\n!");
    }
}

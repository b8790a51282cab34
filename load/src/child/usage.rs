//! What a process has used, by its pid: CPU time, memory, descriptors. Read from `/proc`, so Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// A tick of `/proc/PID/stat`, the same on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, of every thread a process has and had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// Exact, in nanoseconds, thread by thread; those that have ended are missing. Empty where the kernel keeps none.
    threads: BTreeMap<u32, u64>,
    /// The whole process, ended threads included, in ticks.
    ticks: u64,
}

impl Cpu {
    /// Of this process, until now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = entry?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end while we look, and some kernels do not count.
            let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"));
            if let Some(used) = text.ok().as_deref().and_then(on_cpu) {
                threads.insert(thread, used);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = ticks(&stat).ok_or_else(|| unreadable("stat", &stat))?;
        Ok(Self { threads, ticks })
    }

    /// What was used since: to the nanosecond where no thread has ended in between, else to 10 ms.
    #[must_use]
    pub fn since(&self, before: &Self) -> Duration {
        let all_live = before.threads.keys().all(|t| self.threads.contains_key(t));
        if all_live && !self.threads.is_empty() {
            let sum = |cpu: &Self| cpu.threads.values().sum::<u64>();
            return Duration::from_nanos(sum(self).saturating_sub(sum(before)));
        }
        let ticks = self.ticks.saturating_sub(before.ticks);
        TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// Memory of a process that stands in RAM, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    // Exact where it is there; the other is counted in batches for each CPU, and off by as much.
    let (text, field) = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(text) => (text, "Rss:"),
        Err(_) => (fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:"),
    };
    kilobytes(&text, field)
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| unreadable(field, &text))
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The first number of a `schedstat`: nanoseconds on a CPU.
fn on_cpu(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// User and system ticks of a `stat`, whose second field may hold anything, brackets and blanks included.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn unreadable(what: &str, text: &str) -> io::Error {
    let start: String = text.chars().take(80).collect();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no {what} in {start:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 3 4 20 0 5 0 99 1 2 3";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("7 (a S 1"), None);
        assert_eq!(on_cpu("45352880 130646084 222\n"), Some(45_352_880));
        assert_eq!(on_cpu(""), None);
        let rollup = "5645-7ffe ---p 0 [rollup]\nRss:                4072 kB\nPss: 1 kB\n";
        assert_eq!(kilobytes(rollup, "Rss:"), Some(4072));
        assert_eq!(kilobytes(rollup, "Swap:"), None);
    }

    #[test]
    fn time_is_exact_unless_a_thread_has_ended() {
        let cpu = |threads: &[(u32, u64)], ticks| Cpu {
            threads: threads.iter().copied().collect(),
            ticks,
        };
        let check = |before: &Cpu, after: &Cpu, nanos| {
            assert_eq!(after.since(before), Duration::from_nanos(nanos));
        };
        let before = cpu(&[(1, 100), (2, 50)], 7);
        check(&before, &cpu(&[(1, 120), (2, 55), (3, 5)], 9), 30);
        check(&before, &cpu(&[(1, 120)], 9), 20_000_000);
        check(&cpu(&[], 7), &cpu(&[], 8), 10_000_000);
    }

    #[test]
    fn we_have_used_something_ourselves() {
        let pid = std::process::id();
        let before = Cpu::of(pid).unwrap();
        assert!(resident(pid).unwrap() > 100 * 1024);
        assert!(descriptors(pid).unwrap() >= 3);
        assert!(Cpu::of(pid).unwrap().since(&before) < Duration::from_secs(60));
    }
}

//! Which cores a child may use. Linux only; where it can't be said, children run where they like.

use std::io;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Some of the cores that this process may use.
#[derive(Debug, Clone, Copy)]
pub struct Cores(CpuSet);

impl Cores {
    /// One core to be shared by nobody else of ours, and all others; on a single core both are that one.
    pub fn divide() -> io::Result<(Self, Self)> {
        let all = sched_getaffinity(None)?;
        Ok(divide(&all))
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.count()
    }

    /// Does something that starts a process, which inherits these cores. Our own are as before afterwards.
    pub fn during<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, &self.0)?;
        let started = start();
        sched_setaffinity(None, &before)?;
        Ok(started)
    }
}

/// Lets all others go first, on the calling thread and those that it starts.
pub fn yield_to_others(nice: i32) -> io::Result<()> {
    Ok(setpriority_process(None, nice)?)
}

fn divide(all: &CpuSet) -> (Cores, Cores) {
    let (mut one, mut others) = (CpuSet::new(), CpuSet::new());
    for core in (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)) {
        if one.count() == 0 {
            one.set(core);
        } else {
            others.set(core);
        }
    }
    if others.count() == 0 {
        others = one;
    }
    (Cores(one), Cores(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(numbers: &[usize]) -> CpuSet {
        let mut cores = CpuSet::new();
        for number in numbers {
            cores.set(*number);
        }
        cores
    }

    #[test]
    fn one_core_is_set_apart() {
        let check = |all: &[usize], one: &[usize], others: &[usize]| {
            let divided = divide(&cores(all));
            assert!(divided.0.0 == cores(one), "{all:?}: {divided:?}");
            assert!(divided.1.0 == cores(others), "{all:?}: {divided:?}");
        };
        check(&[0, 1], &[0], &[1]);
        check(&[3, 5, 9], &[3], &[5, 9]);
        check(&[2], &[2], &[2]);
    }

    #[test]
    fn what_is_started_inherits_the_cores_and_we_keep_ours() {
        let before = sched_getaffinity(None).unwrap();
        let (one, _) = Cores::divide().unwrap();
        let inherited = one
            .during(|| std::thread::spawn(|| sched_getaffinity(None)).join())
            .unwrap();
        assert!(inherited.unwrap().unwrap() == one.0);
        assert!(sched_getaffinity(None).unwrap() == before);
    }
}

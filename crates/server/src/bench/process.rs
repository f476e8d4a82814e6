//! What the server under test has used: CPU time and memory, from `/proc`.

use std::fs;
use std::time::Duration;

use super::Failure;

/// The processes of one server.
#[derive(Clone, Debug)]
pub struct Process {
    pids: Vec<u32>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All that is resident.
    pub resident: u64,
    /// The part that is no file's: heap and stacks.
    pub anonymous: u64,
}

impl Process {
    pub fn new(pids: &[u32]) -> Process {
        Process { pids: pids.to_vec() }
    }

    /// Whether there is anything to read.
    pub fn is_known(&self) -> bool {
        !self.pids.is_empty()
    }

    /// User and system time used so far. The kernel counts it exactly and tells it in ticks of 10 ms.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let mut ticks = 0;
        for pid in &self.pids {
            let stat = read(*pid, "stat")?;
            // The name, in brackets, may hold anything; fields are counted after it.
            let fields: Vec<&str> = stat[stat.rfind(')').map_or(0, |at| at + 1)..].split_whitespace().collect();
            for field in [11, 12] {
                ticks += fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        // SAFETY: takes no pointer.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second))
    }

    pub fn memory(&self) -> Result<Memory, Failure> {
        let mut memory = Memory::default();
        for pid in &self.pids {
            // `smaps_rollup` counts pages; `status` may lag behind by some per thread.
            let (text, resident, anonymous) = match read(*pid, "smaps_rollup") {
                Ok(text) => (text, "Rss:", "Anonymous:"),
                Err(_) => (read(*pid, "status")?, "VmRSS:", "RssAnon:"),
            };
            memory.resident += kibibytes(&text, resident) * 1024;
            memory.anonymous += kibibytes(&text, anonymous) * 1024;
        }
        Ok(memory)
    }
}

fn read(pid: u32, name: &str) -> Result<String, Failure> {
    fs::read_to_string(format!("/proc/{pid}/{name}"))
        .map_err(|error| format!("cannot read /proc/{pid}/{name}: {error}").into())
}

fn kibibytes(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_cpu_and_memory() {
        let process = Process::new(&[std::process::id()]);
        assert!(process.cpu().is_ok());
        let memory = process.memory().expect("own memory is readable");
        assert!(memory.anonymous > 0 && memory.resident >= memory.anonymous);
    }

    #[test]
    fn a_process_that_is_gone_is_a_sentence() {
        let error = Process::new(&[u32::MAX]).cpu().expect_err("no such process");
        assert!(error.to_string().contains("cannot read /proc/"), "{error}");
    }
}

//! The process itself: the names that every Prometheus client has for it. Where the system does not tell, they are left out.

use std::fs;

use serde::Serialize;

use super::text::Text;

/// Writes what `/proc` tells.
pub fn write(text: &mut Text) {
    let Some(stat) = Stat::read() else { return };
    text.counter("process_cpu_seconds_total", "User and system time used.").seconds(stat.cpu_seconds);
    text.gauge("process_resident_memory_bytes", "Memory that is resident.").value(stat.resident);
    text.gauge("process_virtual_memory_bytes", "Memory that is mapped.").value(stat.mapped);
    text.gauge("process_start_time_seconds", "When the process began, in seconds since 1970.")
        .seconds(stat.started_seconds);
    text.gauge("process_threads", "Threads.").value(stat.threads);
    text.gauge("process_open_fds", "File descriptors in use.").value(open_files());
    text.gauge("process_max_fds", "File descriptors that it may use.").value(most_files());
}

/// What the process uses, for people who look.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// Bytes of memory that are resident.
    pub rss: u64,
    /// Seconds of user and system time since the start.
    pub cpu_seconds: f64,
    /// File descriptors in use.
    pub descriptors: u64,
}

/// What the process uses now; zeros where the system does not tell.
pub fn usage() -> Usage {
    let (rss, cpu_seconds) = Stat::read().map_or((0, 0.0), |stat| (stat.resident, stat.cpu_seconds));
    Usage { rss, cpu_seconds, descriptors: open_files() }
}

struct Stat {
    cpu_seconds: f64,
    started_seconds: f64,
    threads: u64,
    mapped: u64,
    resident: u64,
}

impl Stat {
    /// proc_pid_stat(5).
    fn read() -> Option<Stat> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in brackets, may hold anything; fields are counted after it, from the third.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        // SAFETY: sysconf takes no pointer.
        let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let ticks = ticks.max(1) as f64;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Stat {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            started_seconds: boot as f64 + field(22)? as f64 / ticks,
            threads: field(20)?,
            mapped: field(23)?,
            resident: field(24)? * u64::try_from(page).ok()?,
        })
    }
}

fn open_files() -> u64 {
    // Linux 6.2 and later tell it without naming each of them, which takes long where there are a hundred thousand.
    if let Ok(files) = fs::metadata("/proc/self/fd")
        && files.len() > 0
    {
        return files.len();
    }
    fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}

fn most_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which only writes it.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => 0,
    }
}

//! What the kernel says of memory, descriptors and children.

use std::path::Path;

/// Resident bytes of this process.
pub fn resident_bytes() -> u64 {
    resident_bytes_of("self")
}

/// Resident bytes of the process `pid`; none when it is gone.
pub fn resident_bytes_of(pid: impl std::fmt::Display) -> u64 {
    let Ok(statm) = std::fs::read_to_string(format!("/proc/{pid}/statm")) else { return 0 };
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Bytes of memory of the process `pid` that are its own: without pages of files, such as those of its
/// program, which it shares with everybody who runs it.
pub fn own_bytes_of(pid: i32) -> u64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).map(str::parse::<u64>);
    kib.map_or(0, |kib| kib.unwrap() * 1_024)
}

/// Open descriptors of this process.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process that have ended and that nobody has reaped.
pub fn zombies() -> usize {
    let own = std::process::id().to_string();
    let is_own_zombie = |stat: &String| {
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        (fields.next(), fields.next()) == (Some("Z"), Some(own.as_str()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(is_own_zombie).count()
}

/// The keeper of the leader `os_pid`.
pub fn keeper_of(os_pid: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{os_pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    fields.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Bytes and number of the files of output below the process records in `dir`.
pub fn output_on_disk(dir: &Path) -> (u64, usize) {
    let entries = std::fs::read_dir(dir.join("output")).unwrap().flatten();
    let sizes: Vec<u64> = entries.map(|entry| entry.metadata().unwrap().len()).collect();
    (sizes.iter().sum(), sizes.len())
}

/// Bytes of all files below `dir`.
pub fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

//! Floods of output and of processes: memory, counts, descriptors, zombies.

mod bench;

use agentd::process::FollowStep;
use bench::{Bench, shell};
use shared::protocol::process::{ProcessState, StartProcess};

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn zombies() -> usize {
    let own = std::process::id().to_string();
    let is_own_zombie = |stat: String| {
        let rest = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        let mut fields = rest.split(' ');
        (fields.next(), fields.next()) == (Some("Z"), Some(own.as_str()))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| is_own_zombie(stat.clone()))
        .count()
}

fn bytes_on_disk(bench: &Bench) -> u64 {
    let entries = std::fs::read_dir(bench.state().join("output")).unwrap();
    entries.flatten().map(|entry| entry.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_flood_is_counted_to_the_byte_and_costs_no_memory() {
    const TOTAL: u64 = 512 << 20;
    let bench = Bench::new();
    bench.run(shell("head -c 1000000 /dev/zero")).await; // buffers and threads exist now
    let before = resident_bytes();
    let start = tokio::time::Instant::now();
    let view = bench.run(shell(&format!("head -c {TOTAL} /dev/zero"))).await;
    let seconds = start.elapsed().as_secs_f64();
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(view.output_total, TOTAL);
    let kept = bench::kept(&view);
    assert!(kept <= 64 << 20, "{kept} bytes are kept");
    assert!(kept >= 56 << 20, "{kept} bytes are kept");
    assert!(bytes_on_disk(&bench) <= kept + 2_000_000);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    println!(
        "flood: {:.0} MiB/s, memory grew by {} KiB, kept {} MiB, dropped {} MiB",
        (TOTAL >> 20) as f64 / seconds,
        grown >> 10,
        kept >> 20,
        (view.dropped_to - view.dropped_from) >> 20
    );
}

#[tokio::test]
async fn ten_floods_at_once_are_exact_and_a_slow_follower_is_told_what_it_missed() {
    const TOTAL: u64 = 100 << 20;
    let bench = Bench::new();
    let before = resident_bytes();
    let mut ids = Vec::new();
    for _ in 0..10 {
        let request = StartProcess {
            output_kept_bytes: Some(1 << 20),
            ..shell(&format!("head -c {TOTAL} /dev/zero"))
        };
        ids.push(bench.start(request).await.unwrap().process_id);
    }
    let mut follower = bench.processes.follow(ids[0], 0).unwrap();
    let (mut seen, mut missed) = (0, 0);
    let mut is_first = true;
    loop {
        match follower.next().await.unwrap() {
            FollowStep::Chunk { bytes, .. } => seen += bytes.len() as u64,
            FollowStep::Dropped { from, to } => missed += to - from,
            FollowStep::End(_) => break,
        }
        // As slow as can be: it looks again when everything is over.
        if std::mem::take(&mut is_first) {
            for id in &ids {
                assert_eq!(bench.ended(*id).await.output_total, TOTAL);
            }
        }
    }
    assert_eq!(seen + missed, TOTAL, "seen and missed are everything");
    assert!(missed >= TOTAL - (1 << 20), "{missed} bytes were missed");
    let grown = resident_bytes().saturating_sub(before);
    println!("ten floods: memory grew by {} KiB", grown >> 10);
    assert!(grown < 16 << 20, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn hundreds_of_short_processes_leave_nothing_behind() {
    let bench = Bench::new();
    for _ in 0..50 {
        bench.run(shell("echo warm")).await;
    }
    let (descriptors, before) = (open_descriptors(), resident_bytes());
    let start = tokio::time::Instant::now();
    const COUNT: u32 = 600;
    for _ in 0..COUNT / 10 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(bench.start(shell("echo short")).await.unwrap().process_id);
        }
        for id in ids {
            let view = bench.ended(id).await;
            assert_eq!(view.output_total, 6);
            assert!(matches!(view.state, ProcessState::Exited { output_held_by: 0, .. }));
        }
    }
    let each = start.elapsed().as_secs_f64() * 1_000.0 / f64::from(COUNT);
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(zombies(), 0);
    assert!(open_descriptors() <= descriptors + 5, "{} descriptors", open_descriptors());
    println!("{COUNT} processes: {each:.2} ms each, memory grew by {} KiB", grown >> 10);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
}

/// Prints what a start costs beside a bare spawn; a figure for people, not a limit.
#[tokio::test]
async fn a_start_beside_a_bare_spawn() {
    let bench = Bench::new();
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..100 {
        let start = tokio::time::Instant::now();
        std::process::Command::new("/bin/true").output().unwrap();
        bare.push(start.elapsed().as_micros());
        let start = tokio::time::Instant::now();
        let view = bench.start(bench::argv(&["/bin/true"])).await.unwrap();
        let started = start.elapsed().as_micros();
        bench.ended(view.process_id).await;
        ours.push((start.elapsed().as_micros(), started));
    }
    bare.sort_unstable();
    ours.sort_unstable();
    let (whole, started) = ours[50];
    println!("start: bare {} µs, ours {whole} µs (answered after {started} µs)", bare[50]);
}

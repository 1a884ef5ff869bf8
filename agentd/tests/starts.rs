//! What is ready before a start is durable, and executes nothing. `docs/design/009-syncs-of-a-start.md`.

mod bench;

use bench::events::until_exists;
use bench::{Bench, exit, keepers, shell};
use shared::protocol::process::{Exit, StartProcess};
use shared::protocol::{ErrorCode, WireError};
use shared::testing::trials;

/// Of each kind.
const STARTS: usize = 20;

#[tokio::test]
async fn a_keeper_that_is_not_told_to_go_executes_nothing() {
    let bench = Bench::new();
    let (ran, state) = (bench.root().join("ran"), bench.state());
    for round in 0..trials(STARTS, 500) {
        let process_id = bench.id();
        let request = StartProcess { process_id, ..shell("echo once >>ran; exit 7") };
        let place = state.join("keepers").join(process_id.to_string());
        let refused = async {
            // The keeper has its order by now.
            bench.lifecycle.blocking("until it is ordered", move || until_exists(&place)).await;
            Err(WireError::refused(ErrorCode::JournalUnavailable, "not on record"))
        };
        let error = bench.processes.start(bench.op(), &request, refused).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::JournalUnavailable.as_str());
        assert!(bench.processes.get(process_id).await.is_err(), "there is no such process");
        assert_eq!(keepers(&state), 0, "nothing of it is left");
        let ran_so_far = std::fs::read_to_string(&ran).unwrap_or_default();
        assert_eq!(ran_so_far.lines().count(), round, "only what was told to go has run");
        // The same, and now it is on record: it runs, once.
        let view = bench.start(request).await.unwrap();
        let view = bench.ended(view.process_id).await;
        assert_eq!(exit(&view), Some(Exit::Code { code: 7 }));
    }
}

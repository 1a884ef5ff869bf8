//! What has to change here for the links to be as the directory says. Pure.

use std::collections::HashMap;

use shared::ids::{ReplicaId, WorkspaceId};

use crate::store::LinkRow;

/// A link that is attached here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mine {
    pub(super) id: WorkspaceId,
    pub(super) epoch: u64,
    /// This replica's own, and not a stand-in for another's.
    pub(super) is_here: bool,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Stand in for this link of another replica.
    Attach(LinkRow),
    /// Stop standing in: nobody holds the link any more.
    LetGo(WorkspaceId),
    /// End the own link: the workspace is gone, or the daemon is no longer its own.
    End(WorkspaceId),
}

/// `rows` are all there are of the workspaces in `mine`, and maybe others.
pub(super) fn compare(
    mine: impl Iterator<Item = Mine>,
    rows: &[LinkRow],
    own: Option<ReplicaId>,
) -> Vec<Change> {
    let mine: HashMap<WorkspaceId, Mine> = mine.map(|link| (link.id, link)).collect();
    let said: HashMap<WorkspaceId, &LinkRow> =
        rows.iter().map(|row| (row.workspace, row)).collect();
    let mut changes = Vec::new();
    for link in mine.values() {
        let row = said.get(&link.id);
        let newer = row.is_some_and(|row| epoch(row) > link.epoch);
        let held_by_another = row.is_some_and(|row| row.replica.is_some() && row.replica != own);
        match row {
            None if link.is_here => changes.push(Change::End(link.id)),
            None => changes.push(Change::LetGo(link.id)),
            // A newer link of another replica displaces whatever is here.
            Some(row) if newer && held_by_another => changes.push(Change::Attach(**row)),
            // A newer claim of this replica attaches by itself; one without a holder was taken away.
            Some(row) if newer && link.is_here && row.replica.is_none() => {
                changes.push(Change::End(link.id));
            }
            Some(row) if !link.is_here && (row.replica.is_none() || newer) => {
                changes.push(Change::LetGo(link.id));
            }
            Some(_) => {}
        }
    }
    for row in rows {
        let another = row.replica.is_some() && row.replica != own;
        if another && !mine.contains_key(&row.workspace) {
            changes.push(Change::Attach(*row));
        }
    }
    changes
}

fn epoch(row: &LinkRow) -> u64 {
    u64::try_from(row.epoch).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    use super::*;

    /// Applies the changes as the fleet does.
    fn after(mut mine: Vec<Mine>, changes: &[Change]) -> Vec<Mine> {
        for change in changes {
            match *change {
                Change::Attach(row) => {
                    let stays = |link: &Mine| link.id != row.workspace || link.epoch >= epoch(&row);
                    mine.retain(stays);
                    if !mine.iter().any(|link| link.id == row.workspace) {
                        mine.push(Mine { id: row.workspace, epoch: epoch(&row), is_here: false });
                    }
                }
                Change::LetGo(id) => mine.retain(|link| link.id != id || link.is_here),
                Change::End(id) => mine.retain(|link| link.id != id),
            }
        }
        mine
    }

    proptest! {
        #[test]
        fn one_look_makes_it_as_the_directory_says_and_a_second_changes_nothing(
            places in proptest::collection::vec(
                (any::<bool>(), 0..3_u8, 0..4_i64, any::<bool>(), any::<bool>(), 0..4_u64), 1..6,
            ),
        ) {
            let ids: &dyn IdSource = &CountingIds::default();
            let (own, other): (ReplicaId, ReplicaId) = (ids.id(), ids.id());
            let (mut mine, mut rows) = (Vec::new(), Vec::new());
            for (has_row, holder, epoch, has_link, is_here, link_epoch) in places {
                let id = ids.id();
                let replica = [None, Some(own), Some(other)][usize::from(holder)];
                if has_row {
                    rows.push(LinkRow { workspace: id, replica, epoch, since_ms: 0 });
                }
                if has_link {
                    mine.push(Mine { id, epoch: link_epoch, is_here });
                }
            }
            let changes = compare(mine.iter().copied(), &rows, Some(own));
            let now = after(mine.clone(), &changes);
            prop_assert_eq!(compare(now.iter().copied(), &rows, Some(own)), vec![]);
            for row in &rows {
                let link = now.iter().find(|link| link.id == row.workspace);
                let before = mine.iter().find(|link| link.id == row.workspace);
                let newest = before.is_none_or(|link| link.epoch < epoch(row));
                if row.replica == Some(other) && newest {
                    let wanted = Mine { id: row.workspace, epoch: epoch(row), is_here: false };
                    prop_assert_eq!(link, Some(&wanted));
                }
            }
            for link in &now {
                let row = rows.iter().find(|row| row.workspace == link.id);
                prop_assert!(row.is_some(), "nothing of a workspace that is gone");
                let held = row.is_some_and(|row| row.replica.is_some());
                prop_assert!(link.is_here || held, "nobody stands in for nobody");
            }
        }
    }

    #[test]
    fn an_own_link_lives_through_a_lapse_of_the_lease() {
        let ids: &dyn IdSource = &CountingIds::default();
        let id = ids.id();
        let row = LinkRow { workspace: id, replica: None, epoch: 7, since_ms: 0 };
        let mine = Mine { id, epoch: 7, is_here: true };
        assert!(compare([mine].into_iter(), &[row], None).is_empty());
    }
}

//! The hosts of a rollout on one screen: by stage, within a stage by state, what needs a person first.

use fleet_types::{RolloutId, view};

use crate::pages::show;
use crate::problem::Problem;
use crate::state::AdminApi;

/// More than this are not read for one page.
const READ_MOST: u32 = 20_000;
/// Up to so many hosts each cell holds its name.
const NAMED_MOST: u32 = 60;
/// Up to so many hosts every one is drawn; of larger rollouts what is as it should be is only counted.
const ALL_MOST: u32 = 200;
/// Cells of one group; the rest is in the list that the group leads to.
const GROUP_MOST: usize = 200;
/// Cells of one page, given to the loudest states first.
const PAGE_MOST: usize = 600;

/// The states in the order in which a person wants to know them: word, and how the list of hosts is asked for it.
const STATES: [(&str, &str, Draw, &str); 8] = [
    (
        "attention",
        "attention needed",
        Draw::Loud,
        "failed&needs_attention=true",
    ),
    (
        "failed",
        "failed",
        Draw::Loud,
        "failed&needs_attention=false",
    ),
    ("rolled_back", "rolled back", Draw::Loud, "rolled_back"),
    ("updating", "updating", Draw::Loud, "updating"),
    ("skipped", "skipped", Draw::Quiet, "skipped"),
    ("pending", "waiting", Draw::Quiet, "pending"),
    (
        "unchanged",
        "there already",
        Draw::Quiet,
        "success&reason=unchanged",
    ),
    ("success", "updated", Draw::Quiet, "success&reason=updated"),
];

/// Whether hosts in a state are drawn in a large rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    Loud,
    Quiet,
}

/// The matrix of one rollout.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) stages: Vec<Stage>,
    /// Cells without names.
    pub(crate) dense: bool,
    /// Hosts that were not read.
    pub(crate) unread: u32,
}

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) index: u32,
    pub(crate) hosts: usize,
    pub(crate) groups: Vec<Group>,
}

/// The hosts of a stage in one state. Empty ones are there too: a host may come into them while the page is open.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) state: &'static str,
    pub(crate) word: &'static str,
    pub(crate) href: String,
    pub(crate) hosts: usize,
    /// Whether its hosts are drawn, or only counted.
    pub(crate) drawn: bool,
    pub(crate) cells: Vec<String>,
}

impl Group {
    /// Hosts that are not drawn, of a group that draws them.
    pub(crate) fn more(&self) -> usize {
        if self.drawn {
            self.hosts - self.cells.len()
        } else {
            0
        }
    }
}

impl Matrix {
    /// Reads how each host stands.
    pub(crate) async fn load(api: &AdminApi, v: &view::Rollout) -> Result<Self, Problem> {
        let cells = api.store().rollout_cells(v.id, READ_MOST).await?;
        Ok(Self::of(v.id, v.counts.total(), cells))
    }

    fn of(rollout: RolloutId, total: u32, cells: Vec<view::Cell>) -> Self {
        let read = u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let mut stages: Vec<Stage> = Vec::new();
        for cell in cells {
            if stages.last().is_none_or(|last| last.index != cell.stage) {
                stages.push(Stage::empty(rollout, cell.stage, total));
            }
            if let Some(stage) = stages.last_mut() {
                stage.take(cell);
            }
        }
        bound(&mut stages);
        Self {
            stages,
            dense: total > NAMED_MOST,
            unread: total.saturating_sub(read),
        }
    }
}

impl Stage {
    fn empty(rollout: RolloutId, index: u32, total: u32) -> Self {
        let group = |(state, word, draw, status)| Group {
            state,
            word,
            href: format!("/admin/updates/hosts?rollout={rollout}&stage={index}&status={status}"),
            hosts: 0,
            drawn: draw == Draw::Loud || total <= ALL_MOST,
            cells: Vec::new(),
        };
        Self {
            index,
            hosts: 0,
            groups: STATES.into_iter().map(group).collect(),
        }
    }

    fn take(&mut self, cell: view::Cell) {
        let state = show::cell_state(cell.status, cell.reason.as_deref(), cell.needs_attention);
        self.hosts += 1;
        if let Some(group) = self.groups.iter_mut().find(|group| group.state == state) {
            group.hosts += 1;
            if group.drawn && group.cells.len() < GROUP_MOST {
                group.cells.push(cell.host);
            }
        }
    }
}

/// Keeps the page small, whatever happens to a fleet: the loudest states of all stages are drawn first.
fn bound(stages: &mut [Stage]) {
    let mut room = PAGE_MOST;
    for at in 0..STATES.len() {
        for stage in stages.iter_mut() {
            if let Some(group) = stage.groups.get_mut(at) {
                group.cells.truncate(room);
                room -= group.cells.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_types::AttemptStatus;

    use super::*;

    fn cells(stage: u32, status: AttemptStatus, hosts: usize) -> Vec<view::Cell> {
        let cell = |at| view::Cell {
            host: format!("{status}-{stage}-{at}"),
            stage,
            status,
            reason: None,
            needs_attention: false,
        };
        (0..hosts).map(cell).collect()
    }

    /// What is shown of each group that is not empty: stage, state, hosts, cells.
    fn shown(cells: Vec<view::Cell>) -> Vec<(u32, &'static str, usize, usize)> {
        let total = cells.len() as u32;
        let matrix = Matrix::of(RolloutId(uuid::Uuid::nil()), total, cells);
        let mut all = Vec::new();
        for stage in &matrix.stages {
            let sum: usize = stage.groups.iter().map(|group| group.hosts).sum();
            assert_eq!(sum, stage.hosts, "a host of no group");
            let seen = stage.groups.iter().filter(|group| group.hosts > 0);
            all.extend(seen.map(|g| (stage.index, g.state, g.hosts, g.cells.len())));
        }
        all
    }

    #[test]
    fn what_needs_a_person_comes_first() {
        let mut all = cells(1, AttemptStatus::Success, 2);
        all.extend(cells(1, AttemptStatus::Pending, 1));
        all.extend(cells(1, AttemptStatus::Failed, 2));
        all[0].reason = Some("unchanged".to_owned());
        all[3].needs_attention = true;
        all.extend(cells(2, AttemptStatus::Updating, 1));
        let expected = [
            (1, "attention", 1, 1),
            (1, "failed", 1, 1),
            (1, "pending", 1, 1),
            (1, "unchanged", 1, 1),
            (1, "success", 1, 1),
            (2, "updating", 1, 1),
        ];
        assert_eq!(shown(all), expected);
    }

    #[test]
    fn of_a_large_rollout_only_what_matters_is_drawn() {
        let mut all = cells(1, AttemptStatus::Success, 500);
        all.extend(cells(1, AttemptStatus::RolledBack, 3));
        all.extend(cells(2, AttemptStatus::Updating, 20));
        all.extend(cells(2, AttemptStatus::Pending, 4477));
        let expected = [
            (1, "rolled_back", 3, 3),
            (1, "success", 500, 0),
            (2, "updating", 20, 20),
            (2, "pending", 4477, 0),
        ];
        assert_eq!(shown(all), expected);
    }

    #[test]
    fn whatever_happens_the_page_is_bounded_and_the_loudest_are_drawn() {
        let mut all = Vec::new();
        for stage in 1..=5 {
            all.extend(cells(stage, AttemptStatus::Updating, 300));
            all.extend(cells(stage, AttemptStatus::Failed, 150));
        }
        let shown = shown(all);
        let drawn: usize = shown.iter().map(|group| group.3).sum();
        assert_eq!(drawn, PAGE_MOST);
        assert_eq!(shown[0], (1, "failed", 150, 150));
        assert_eq!(shown[1], (1, "updating", 300, 0));
        assert_eq!(shown[6], (4, "failed", 150, 150));
        assert_eq!(shown[8], (5, "failed", 150, 0));
    }
}

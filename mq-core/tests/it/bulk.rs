//! Bulk jobs: how far they are, what is remembered of them, and what is refused.

use bytes::Bytes;
use mq_core::bulk::{
    BulkCounts, BulkEnd, BulkId, BulkJob, BulkRefused, EndBulk, StartBulk, StepBulk,
};
use mq_core::command::Operation;
use mq_core::event::{BulkEvent, Event};
use mq_core::id::Seq;
use mq_core::limits::{
    ACTOR_SIZE_MAX, BULK_KEPT_MAX, BULK_RUNNING_MAX, BULK_SPEC_SIZE_MAX, EDITS_LEN_MAX,
};
use mq_core::manager::ApplyError;
use mq_core::message::Due;
use mq_core::name::Label;
use mq_core::state::{EditKind, Happened};

use crate::rig::{Rig, draft, fail, priority, queue, secs};

fn start(rig: &mut Rig) -> Result<BulkId, BulkRefused> {
    rig.run(&StartBulk {
        spec: Bytes::from_static(b"all of them"),
        by: "Zoë".to_owned(),
    })
}

fn step(rig: &mut Rig, id: BulkId, cursor: u64) -> Result<(), BulkRefused> {
    rig.run(&StepBulk {
        id,
        cursor: Seq::new(cursor).unwrap(),
        counts: BulkCounts {
            matched: cursor,
            ..BulkCounts::default()
        },
    })
}

fn end(rig: &mut Rig, id: BulkId, how: BulkEnd) -> Result<(), BulkRefused> {
    rig.run(&EndBulk { id, how })
}

fn job(rig: &Rig, id: BulkId) -> BulkJob {
    BulkJob::clone(rig.manager.bulk_job(id).unwrap())
}

#[test]
fn a_job_goes_from_its_start_over_steps_to_its_end_and_survives_all_of_it() {
    let mut rig = Rig::new();
    let last = rig.enqueue(draft()).seq();
    let id = start(&mut rig).unwrap();
    rig.enqueue(draft());
    assert_eq!(job(&rig, id).cutoff, last, "later messages are not touched");
    assert_eq!(job(&rig, id).by, "Zoë");
    rig.check_recovery();
    step(&mut rig, id, 1).unwrap();
    assert_eq!(
        (job(&rig, id).cursor, job(&rig, id).counts.matched),
        (last, 1)
    );
    rig.check_recovery();
    end(&mut rig, id, BulkEnd::Completed).unwrap();
    assert_eq!(
        job(&rig, id).ended,
        Some((BulkEnd::Completed, rig.now.wall))
    );
    rig.check_recovery();
    let ended = BulkRefused::Ended {
        id,
        how: "completed",
    };
    assert_eq!(step(&mut rig, id, 2), Err(ended.clone()));
    assert_eq!(end(&mut rig, id, BulkEnd::Completed), Err(ended));
}

#[test]
fn few_jobs_run_at_once_and_the_last_ones_that_ended_are_remembered() {
    let mut rig = Rig::new();
    let running: Vec<BulkId> = (0..BULK_RUNNING_MAX)
        .map(|_| start(&mut rig).unwrap())
        .collect();
    assert_eq!(start(&mut rig), Err(BulkRefused::TooMany));
    for id in running {
        let by = "x".repeat(2 * ACTOR_SIZE_MAX);
        end(&mut rig, id, BulkEnd::Cancelled { by }).unwrap();
        let by = "x".repeat(ACTOR_SIZE_MAX);
        assert_eq!(job(&rig, id).ended.unwrap().0, BulkEnd::Cancelled { by });
    }
    for _ in 0..BULK_KEPT_MAX {
        let id = start(&mut rig).unwrap();
        end(&mut rig, id, BulkEnd::Completed).unwrap();
    }
    assert_eq!(rig.manager.bulk_jobs().count(), BULK_KEPT_MAX);
    let first = BulkId(1);
    assert_eq!(
        step(&mut rig, first, 1),
        Err(BulkRefused::Unknown { id: first })
    );
    let next = start(&mut rig).unwrap();
    assert_eq!(
        next.0,
        (BULK_RUNNING_MAX + BULK_KEPT_MAX) as u64 + 1,
        "no number is used again"
    );
    rig.check_recovery();
}

#[test]
fn a_job_that_says_too_much_is_refused() {
    let mut rig = Rig::new();
    let size = BULK_SPEC_SIZE_MAX + 1;
    let command = StartBulk {
        spec: Bytes::from(vec![0; size]),
        by: String::new(),
    };
    assert_eq!(rig.run(&command), Err(BulkRefused::TooLarge { size }));
}

#[test]
fn an_event_that_contradicts_a_job_changes_nothing() {
    let mut rig = Rig::new();
    let id = start(&mut rig).unwrap();
    step(&mut rig, id, 5).unwrap();
    let before = rig.records();
    let back = BulkEvent::Stepped {
        id,
        cursor: Seq::new(4).unwrap(),
        counts: BulkCounts::default(),
    };
    let again = BulkEvent::Started {
        id,
        spec: Bytes::new(),
        cutoff: Seq::NONE,
        by: String::new(),
        at: rig.now.wall,
    };
    for event in [back, again] {
        let applied = rig.manager.apply(&Event::Bulk(event), 9);
        assert_eq!(applied, Err(ApplyError::BulkJob { id }));
    }
    assert_eq!(rig.records(), before);
}

#[test]
fn the_history_of_a_message_tells_who_changed_it_and_how() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    rig.settle(token, fail());
    let label = || Label::new("review").unwrap();
    rig.now.wall = rig.now.wall.after(secs(1));
    rig.operate(id, Operation::Hold(label())).unwrap();
    rig.operate(id, Operation::SetPriority(priority(9)))
        .unwrap();
    rig.operate(id, Operation::MoveTo(queue("slow"))).unwrap();
    rig.operate(id, Operation::Release).unwrap();
    let tail = rig.view(id).tail;
    let told: Vec<&EditKind> = tail.edits.iter().map(|edit| &edit.what).collect();
    let expected = [
        &EditKind::Hold { label: label() },
        &EditKind::SetPriority {
            from: priority(4),
            to: priority(9),
        },
        &EditKind::Move {
            from: queue("q"),
            to: queue("slow"),
        },
        &EditKind::Release { label: label() },
    ];
    assert_eq!(told, expected);
    assert!(
        tail.edits
            .iter()
            .all(|edit| edit.by == "rig" && edit.at == rig.now.wall)
    );
    let timeline = tail.timeline();
    assert!(
        matches!(timeline.first(), Some(Happened::Attempt(_))),
        "{timeline:?}"
    );
    for delay in 0..10 {
        let due = Due::After(secs(60 + delay));
        rig.operate(id, Operation::Reschedule(due)).unwrap();
    }
    assert_eq!(rig.view(id).tail.edits.len(), EDITS_LEN_MAX);
    rig.check_recovery();
}

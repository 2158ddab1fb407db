//! Nothing goes on by itself in a salvaged store that may not have gone on in the damaged one: the record that paused, removed or
//! cancelled it may be among what is lost.
//!
//! Invariants: if anything is lost, no bulk job runs on. If part of the journal is, no schedule fires before somebody has looked at
//! it, and what is known of schedules and queues is in the report, as it was before the loss.

use mq_core::bulk::BulkEnd;
use mq_core::event::{BulkEvent, Event, ScheduleEvent};
use mq_core::id::QueueId;
use mq_core::image::ImageRecord;

use super::state::State;
use super::{EndedJob, LISTED_MAX, QueueBefore, ScheduleBefore};

/// Why a job has ended.
const REASON: &str = "salvaged: the store was damaged, and whether this job was cancelled or had ended may be among what is lost; start another";

impl State {
    /// Stops what goes on by itself, and reports it. Called when it is known what is lost.
    pub(super) fn quieten(&mut self) {
        if !self.report.is_complete() {
            self.end_jobs();
        }
        if self.is_doubted() {
            self.pause_schedules();
            self.list_queues();
        }
    }

    fn end_jobs(&mut self) {
        let running = self.manager.bulk_jobs().filter(|job| job.ended.is_none());
        let running: Vec<_> = running.cloned().collect();
        for job in running {
            let ended = BulkEvent::Ended {
                id: job.id,
                how: BulkEnd::Failed {
                    reason: REASON.to_owned(),
                },
                at: self.last.wall,
            };
            if self.manager.apply(&Event::Bulk(ended), 0).is_ok() {
                self.report.ended_jobs.push(EndedJob {
                    id: job.id,
                    by: job.by.clone(),
                });
            }
        }
    }

    fn pause_schedules(&mut self) {
        let mut schedules = self.manager.schedules();
        schedules.sort_by(|one, other| one.name.cmp(&other.name));
        self.report.schedules_count = schedules.len() as u64;
        for schedule in schedules {
            if self.report.schedules.len() < LISTED_MAX {
                self.report.schedules.push(ScheduleBefore {
                    name: schedule.name.clone(),
                    paused: schedule.paused,
                    next: schedule.next,
                });
            }
            let paused = Event::Schedule(ScheduleEvent::Paused {
                name: schedule.name.clone(),
                paused: true,
                next: schedule.next,
            });
            if let Err(error) = self.manager.apply(&paused, 0) {
                self.report.notes.push(error.to_string());
            }
        }
    }

    /// Those whose settings do not stand in the journal behind the last loss.
    fn list_queues(&mut self) {
        let image = self.manager.image();
        let queues = image.records().take_while(|record| !is_message(record));
        for record in queues {
            if let ImageRecord::Queue { id, name, settings } = record
                && !self.is_vouched_for(id)
            {
                self.report.queues_count += 1;
                if self.report.queues.len() < LISTED_MAX {
                    let settings = *settings;
                    self.report.queues.push(QueueBefore { name, settings });
                }
            }
        }
    }

    fn is_vouched_for(&self, queue: QueueId) -> bool {
        self.queues_set.contains(&queue)
    }
}

const fn is_message(record: &ImageRecord) -> bool {
    matches!(record, ImageRecord::Message(_))
}

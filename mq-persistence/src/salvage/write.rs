//! The new store: the payloads that can be read, byte for byte, and behind them a snapshot of the state that was replayed.

use std::sync::Arc;

use mq_core::event::Event;
use mq_core::image::ImageRecord;
use mq_core::manager::Config;
use mq_core::time::{Monotonic, Now};

use super::source::Source;
use super::state::State;
use super::{SalvageError, SalvageReport};
use crate::backup::later;
use crate::error::{Failure, JournalError};
use crate::frame::Frame;
use crate::keeper::Snapshotted;
use crate::open::{JournalOptions, OpenError, OpenInputs, Opened, create_as, open_into};
use crate::recovery::{Contradiction, Replay};
use crate::storage::Storage;

/// Bytes of payloads written in one frame.
const FRAME_SIZE: usize = 1 << 20;
/// A store may have more segments than a process may have files open.
const RECORDS_BETWEEN_CLOSES: usize = 256;

/// The state of the new store comes from the old one.
struct Nothing;

impl Replay for Nothing {
    fn image(&mut self, _record: ImageRecord) -> Result<(), Contradiction> {
        Ok(())
    }

    fn event(&mut self, _event: &Event) -> Result<(), Contradiction> {
        Ok(())
    }
}

/// Writes the new store.
pub(super) fn write(
    mut state: State,
    source: &Source,
    target: &Arc<dyn Storage>,
    options: &JournalOptions,
    inputs: OpenInputs<'_>,
) -> Result<SalvageReport, SalvageError> {
    let filesystem = target.inspect().map_err(OpenError::from)?.filesystem;
    let (wall, random, owner) = (inputs.wall, inputs.random, inputs.owner);
    create_as(target, options, filesystem, &source.identity, wall, random)?;
    let inputs = OpenInputs {
        wall,
        random,
        config: Config::default(),
        owner,
    };
    let mut opened = open_into(Arc::clone(target), options, inputs, |_| Nothing)?;
    let now = Now {
        wall: state.last.wall,
        monotonic: Monotonic::default(),
        store: state.last.store,
    };
    write_payloads(&mut state, &mut opened, &now)?;
    state.quieten();
    write_state(&state, opened, &now)?;
    Ok(state.report)
}

/// The payload of every message that can be read; those that cannot leave the state.
fn write_payloads(
    state: &mut State,
    opened: &mut Opened<Nothing>,
    now: &Now,
) -> Result<(), SalvageError> {
    let mut frame = Frame::new(&opened.identity);
    let image = state.manager.image();
    for (count, record) in image.records().enumerate() {
        if count % RECORDS_BETWEEN_CLOSES == 0 {
            state.places.segments().close_idle();
            opened.places.segments().close_idle();
        }
        let ImageRecord::Message(message) = record else {
            continue;
        };
        let seq = message.facts.seq;
        let Some(pinned) = state.places.pin(seq) else {
            let reason = "its payload is in what is lost".to_owned();
            state.lose(&message, reason);
            continue;
        };
        match pinned.read_raw() {
            Ok(bytes) => {
                frame.append_copy(&bytes, Some(seq));
                state.save(&message);
            }
            Err(failure) => {
                let (file, offset) = (&failure.file, failure.offset);
                let reason = format!("{file} at offset {offset}: {}", failure.reason);
                state.lose(&message, reason);
            }
        }
        if frame.size() >= FRAME_SIZE {
            put(opened, &mut frame, now)?;
        }
    }
    put(opened, &mut frame, now)
}

fn put(opened: &mut Opened<Nothing>, frame: &mut Frame, now: &Now) -> Result<(), SalvageError> {
    let written = opened.log.write(frame, now).map_err(of_journal)?;
    opened.places.note(&written);
    frame.reuse(written.changes);
    opened.log.sync()?;
    Ok(())
}

/// The state, as a snapshot, and an orderly end.
fn write_state(state: &State, opened: Opened<Nothing>, now: &Now) -> Result<(), SalvageError> {
    let Opened {
        mut log,
        mut keeper,
        places,
        lock,
        ..
    } = opened;
    let at = log.sync()?;
    let image = state.manager.image();
    let records = image.records().map(later);
    match keeper.snapshot(records, places.image(), (at, at), now)? {
        Snapshotted::Taken(_) => {}
        Snapshotted::NoRoom => return Err(SalvageError::NoRoom),
    }
    log.close(now)?;
    drop(lock);
    Ok(())
}

/// A full disk is the one failure that says what to do.
fn of_journal(error: JournalError) -> SalvageError {
    let full = Failure::of("write", "")(std::io::ErrorKind::StorageFull.into());
    let JournalError::Poisoned { reason, .. } = &error;
    if *reason == full.source.to_string() {
        SalvageError::NoRoom
    } else {
        error.into()
    }
}

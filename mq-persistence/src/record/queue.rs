//! Fields of a queue's settings.

use std::time::Duration;

use mq_core::name::Label;
use mq_core::queue::{FOREVER, QueueSettings};

use super::state::{name, put_name};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u64};

const PAUSED: u16 = 1;
const HOLD_NEW: u16 = 1 << 1;
const RETAIN_COMPLETED: u16 = 1 << 2;
const MESSAGES_MAX: u16 = 1 << 3;
const SETTINGS_BITS: u16 = (1 << 4) - 1;

pub(super) fn put_settings(buffer: &mut Vec<u8>, settings: &QueueSettings) {
    let parts = [
        (settings.paused, PAUSED),
        (settings.hold_new.is_some(), HOLD_NEW),
        (settings.retain_completed.is_some(), RETAIN_COMPLETED),
        (settings.messages_max.is_some(), MESSAGES_MAX),
    ];
    let present = parts.iter().filter(|(present, _)| *present);
    put_u16(buffer, present.fold(0, |bits, (_, bit)| bits | bit));
    if let Some(label) = &settings.hold_new {
        put_name(buffer, label.as_str());
    }
    if let Some(span) = settings.retain_completed {
        put_u64(buffer, u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(limit) = settings.messages_max {
        put_u64(buffer, limit);
    }
}

pub(super) fn settings(fields: &mut Fields<'_>) -> Result<Box<QueueSettings>, DecodeError> {
    let bits = fields.bits(SETTINGS_BITS, "the settings of a queue")?;
    let what = "a label";
    let hold_new = bits.when(HOLD_NEW, || {
        Label::new(name(fields, what)?).map_err(|_| DecodeError::Text { what })
    })?;
    let retain = bits.when(RETAIN_COMPLETED, || fields.u64("a retention"))?;
    Ok(Box::new(QueueSettings {
        paused: bits.has(PAUSED),
        hold_new,
        retain_completed: retain.map(|ms| match ms {
            u64::MAX => FOREVER,
            ms => Duration::from_millis(ms),
        }),
        messages_max: bits.when(MESSAGES_MAX, || fields.u64("a limit of messages"))?,
    }))
}

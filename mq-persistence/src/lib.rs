//! The journal of mq: the storage seam, records, frames, segments, the log, snapshots, recovery, compaction.

pub mod storage;

//! Workloads and instruments. Each measurement stands beside the disk's own rate from the same run.

pub mod raw;
pub mod report;
pub mod workloads;

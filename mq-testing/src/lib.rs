//! For tests of mq and of programs built on it: a simulated disk, the oracle of what a queue owes, drivers of crashes and faults.

pub mod clock;
pub mod conformance;
pub mod crash_points;
pub mod logs;
pub mod naive;
pub mod oracle;
pub mod random;
pub mod sim_disk;

//! The whole engine on a simulated machine: one thread runs at a time and says when it sleeps, the clock stands still
//! until it is moved, the disk loses power after any I/O. Equal seeds replay bit for bit.

pub mod canaries;
pub mod full_disk;
pub mod fuzz;
pub mod machine;
mod one_core;
pub mod puppets;
pub mod rot;
pub mod simulation;
mod staged;
pub mod suite;
pub mod suites;
pub mod workload;

//! Workloads and instruments: what mq costs, each figure beside the limit it is judged by, from the same run.
//!
//! `goals` holds one file per goal, `shapes` the shapes of an older in-memory queue; both only say what is done and what it
//! is divided by. `scale` is about cost against size. How load is made stands in `load`, how cost is read in `instruments` and
//! `counting`, what the disk does by itself in `disk`, and how all of it is told in `report`, `page` and `plot`.

pub mod counting;
pub mod disk;
pub mod goals;
pub mod instruments;
pub mod kernel;
pub mod latency;
pub mod load;
pub mod machine;
pub mod measure;
pub mod page;
pub mod plan;
pub mod plot;
pub mod process;
pub mod report;
pub mod rig;
pub mod ring_race;
pub mod scale;
pub mod shapes;
pub mod store;

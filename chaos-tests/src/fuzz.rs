//! What is fuzzed: functions of bytes that must neither panic, nor hang, nor believe a length, nor break a promise.
//!
//! The libFuzzer programs in `fuzz/` call them with bytes that grow towards new code; the test `corpus` calls them with the
//! seeds in `fuzz/corpus`, and with mutations of these, on every machine. `cargo xtask fuzz` runs the former.

mod bytes;
mod commands;
mod store;

pub use bytes::{control, frame, record, segment, words};
pub use commands::commands;
pub use store::{snapshot, store};

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Tries these bytes.
    ///
    /// # Panics
    /// A promise is broken.
    pub attempt: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame",
        attempt: frame,
    },
    Target {
        name: "record",
        attempt: record,
    },
    Target {
        name: "segment",
        attempt: segment,
    },
    Target {
        name: "snapshot",
        attempt: snapshot,
    },
    Target {
        name: "store",
        attempt: store,
    },
    Target {
        name: "commands",
        attempt: commands,
    },
    Target {
        name: "control",
        attempt: control,
    },
    Target {
        name: "words",
        attempt: words,
    },
];

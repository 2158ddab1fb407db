//! Tests of the manager's inside; what it promises outside is tested in `tests/it`.

use super::entry::Entry;

#[test]
fn a_plain_message_takes_48_bytes() {
    assert_eq!(size_of::<Entry>(), 48);
}

//! What a message costs in memory.

use std::sync::Arc;

use mq_core::id::{Seq, StoreTag};
use mq_core::time::Timestamp;

use super::{Place, Places};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::pins::Segments;

fn filled(count: u64) -> Places {
    let identity = Identity {
        uuid: [1; 16],
        tag: StoreTag::new(1),
        secret: [2; 16],
        created: Timestamp::from_ms(0),
    };
    let mut places = Places::new(Arc::new(Segments::new(identity)));
    for number in 1..=count {
        let at = Lsn::new(1, 4096);
        places.restore(Seq::new(number).unwrap(), Place { at, len: 300 });
    }
    places
}

fn heap_size(places: &Places) -> usize {
    let entry = size_of::<(u64, Arc<super::Page>)>() + 1;
    let pages: usize = places
        .pages
        .values()
        .map(|page| page.heap_size() + size_of::<super::Page>() + 16)
        .sum();
    places.pages.capacity() * entry * 8 / 7 + pages
}

#[test]
fn a_message_in_a_full_store_costs_no_more_than_sixteen_bytes() {
    let count = 1 << 20;
    let each = heap_size(&filled(count)) as u64 * 10 / count;
    assert!(each <= 130, "{each} tenths of a byte per message");
}

#[test]
fn a_message_left_behind_by_thousands_costs_its_own_size_only() {
    let mut places = filled(1 << 20);
    let kept = |number: u64| number.is_multiple_of(1000);
    for number in (1..=1 << 20).filter(|number| !kept(*number)) {
        places.forget(Seq::new(number).unwrap(), Lsn::START);
    }
    let left = places.len();
    assert_eq!(left, (1 << 20) / 1000);
    let each = heap_size(&places) as u64 / left;
    assert!(each <= 150, "{each} bytes per message left");
    for number in (1..=1 << 20).filter(|number| kept(*number)) {
        places.forget(Seq::new(number).unwrap(), Lsn::START);
    }
    assert!(places.pages.is_empty(), "empty pages are freed");
}

#[test]
fn a_page_at_the_border_does_not_change_its_form_with_each_message() {
    let mut places = filled(1023);
    let is_table =
        |places: &Places| matches!(**places.pages.get(&0).unwrap(), super::Page::Table { .. });
    assert!(is_table(&places));
    for number in 1..=700 {
        places.forget(Seq::new(number).unwrap(), Lsn::START);
    }
    assert!(is_table(&places), "still over the lower limit");
    for number in 1..=100 {
        let at = Lsn::new(1, 4096);
        places.forget(Seq::new(700 + number).unwrap(), Lsn::START);
        assert_eq!(is_table(&places), 323 - number >= 256);
        if number > 68 {
            places.restore(Seq::new(number).unwrap(), Place { at, len: 1 });
            assert!(!is_table(&places), "and under the upper one");
        }
    }
}

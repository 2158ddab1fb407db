//! The main path: enqueue, hand out, settle, close and open.

use mq_core::command::Enqueue;
use mq_core::state::State;

use crate::rig::{Rig, draft, fail, secs, succeed};

#[test]
fn a_message_is_enqueued_handed_out_and_done() {
    let mut rig = Rig::new();
    let accepted = rig.try_enqueue(draft()).unwrap();
    assert_eq!(accepted.enqueue, Enqueue::New);
    assert_eq!(rig.state(accepted.id), State::Ready);
    assert_eq!(rig.grant(), None, "nobody has a permit");
    rig.open_pool();
    let token = rig.grant_of(accepted.id);
    assert_eq!(rig.state(accepted.id), State::Leased { token });
    assert_eq!(rig.grant(), None);
    let settled = rig.settle(token, succeed());
    assert_eq!(settled.state, None);
    assert!(rig.is_gone(accepted.id));
    rig.check_recovery();
}

#[test]
fn a_failed_message_comes_back_after_its_back_off() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    rig.settle(token, fail());
    rig.check_recovery();
    assert_eq!(rig.grant(), None);
    rig.pass(secs(1));
    let again = rig.grant_of(id);
    assert_eq!((again.delivery, rig.view(id).tail.failures), (2, 1));
}

#[test]
fn nothing_is_handed_out_before_it_is_durable() {
    let mut rig = Rig::new();
    rig.open_pool();
    rig.synced = false;
    let id = rig.enqueue(draft());
    assert_eq!(rig.grant(), None);
    rig.sync();
    rig.grant_of(id);
}

#[test]
fn an_orderly_close_and_open_keeps_everything_and_makes_no_suspects() {
    let mut rig = Rig::new();
    rig.open_pool();
    let (one, two) = (rig.enqueue(draft()), rig.enqueue(draft()));
    rig.grant_of(one);
    rig.reopen();
    assert_eq!(rig.manager.incarnation().0, 2);
    rig.open_pool();
    assert_eq!(rig.grant_all(), [one, two]);
    assert!(!rig.view(one).suspect);
    assert_eq!(rig.view(one).tail.history, []);
}

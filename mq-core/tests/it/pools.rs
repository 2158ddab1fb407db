//! Pools and permits: who gets what.

use std::collections::BTreeMap;

use mq_core::command::{Operation, PoolSpec};
use mq_core::id::PoolId;
use mq_core::manager::Explanation;
use mq_core::state::State;

use crate::rig::{Rig, draft, in_queue, kind, of_kind, ordered, pool, queue, secs, succeed};

#[test]
fn a_permit_is_spent_on_one_grant() {
    let mut rig = Rig::new();
    let pool = rig.pool(pool(None, None), 2);
    rig.enqueue_all(vec![draft(); 5]);
    assert_eq!(rig.grant_all().len(), 2);
    rig.manager.add_permits(pool, 1);
    assert_eq!(rig.grant_all().len(), 1);
    rig.manager.add_permits(pool, 5);
    assert_eq!(rig.manager.withdraw_permits(pool, 4), 4);
    assert_eq!(rig.grant_all().len(), 1);
    assert_eq!(rig.manager.withdraw_permits(pool, 4), 0);
}

#[test]
fn a_pool_takes_what_its_selector_says() {
    let cases: [(PoolSpec, &[usize]); 4] = [
        (pool(None, None), &[0, 1, 2, 3]),
        (pool(Some("a"), None), &[0, 1]),
        (pool(None, Some("x")), &[0, 2]),
        (pool(Some("b"), Some("y")), &[3]),
    ];
    for attach_first in [true, false] {
        for (spec, expected) in cases.clone() {
            let mut rig = Rig::new();
            if attach_first {
                rig.pool(spec.clone(), 10);
            }
            let mut ids = Vec::new();
            for (queue_name, kind_name) in [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")] {
                let mut draft = in_queue(queue_name);
                draft.kind = kind(kind_name);
                ids.push(rig.enqueue(draft));
            }
            if !attach_first {
                rig.pool(spec, 10);
            }
            let expected: Vec<_> = expected.iter().map(|index| ids[*index]).collect();
            assert_eq!(rig.grant_all(), expected);
        }
    }
}

#[test]
fn a_pool_with_several_lines_spends_its_permits_on_all_of_them() {
    let both = |one: PoolSpec, other: PoolSpec| PoolSpec {
        lines: [one.lines, other.lines].concat(),
        ..one
    };
    for attach_first in [true, false] {
        let spec = both(pool(None, Some("x")), pool(Some("b"), None));
        let mut rig = Rig::new();
        if attach_first {
            rig.pool(spec.clone(), 2);
        }
        let mut ids = Vec::new();
        for (queue_name, kind_name) in [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")] {
            let mut draft = in_queue(queue_name);
            draft.kind = kind(kind_name);
            ids.push(rig.enqueue(draft));
        }
        let many = if attach_first {
            PoolId(0)
        } else {
            rig.pool(spec, 2)
        };
        assert_eq!(rig.grant_all(), [ids[0], ids[2]], "one permit, one message");
        rig.manager.add_permits(many, 2);
        assert_eq!(rig.grant_all(), [ids[3]]);
        // Turned around it is the same group, and takes turns in it.
        let same = rig.pool(both(pool(Some("b"), None), pool(None, Some("x"))), 1);
        rig.enqueue_all(vec![in_queue("b"); 2]);
        let pools = [rig.grant().unwrap().pool, rig.grant().unwrap().pool];
        assert_eq!(pools, [many, same]);
    }
}

#[test]
fn a_lease_that_runs_out_counts_as_its_own_line_says() {
    let mut rig = Rig::new();
    let mut spec = pool(None, Some("once"));
    spec.lines[0].retry.failures_max = 1;
    spec.lines.extend(pool(None, None).lines);
    rig.pool(spec, 2);
    let once = rig.enqueue(of_kind("once"));
    let often = rig.enqueue(of_kind("often"));
    assert_eq!(rig.grant_all(), [once, often]);
    rig.pass(secs(31));
    assert!(matches!(rig.state(once), State::Dead { .. }));
    assert!(!matches!(rig.state(often), State::Dead { .. }));
}

#[test]
fn pools_with_different_selectors_share_the_lanes_they_have_in_common() {
    let mut rig = Rig::new();
    let any = rig.pool(pool(None, None), 30);
    let kind_only = rig.pool(pool(None, Some("k")), 30);
    let queue_only = rig.pool(pool(Some("q"), None), 30);
    rig.enqueue_all(vec![draft(); 60]);
    let mut taken: BTreeMap<PoolId, usize> = BTreeMap::new();
    let mut last = None;
    while let Some(granted) = rig.grant() {
        *taken.entry(granted.pool).or_default() += 1;
        assert!(last < Some(granted.seq), "in order, whoever takes it");
        last = Some(granted.seq);
    }
    let expected = [(any, 20), (kind_only, 20), (queue_only, 20)];
    assert_eq!(taken, BTreeMap::from(expected), "they take turns");
}

#[test]
fn pools_with_one_selector_take_turns() {
    let mut rig = Rig::new();
    let (one, two) = (rig.pool(pool(None, None), 3), rig.pool(pool(None, None), 3));
    rig.enqueue_all(vec![draft(); 4]);
    let pools: Vec<PoolId> = (0..4).map(|_| rig.grant().unwrap().pool).collect();
    assert_eq!(pools, [one, two, one, two]);
}

#[test]
fn a_detached_pool_gets_nothing_and_its_leases_run_out() {
    let mut rig = Rig::new();
    let gone = rig.pool(pool(None, None), 2);
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    rig.enqueue(draft());
    rig.manager.detach_pool(gone);
    rig.manager.add_permits(gone, 5);
    assert_eq!(rig.grant(), None);
    assert_eq!(rig.state(id), State::Leased { token });
    rig.pass(secs(30));
    rig.pass(secs(1));
    rig.open_pool();
    assert_eq!(rig.grant_all().len(), 2);
}

#[test]
fn a_kind_nobody_serves_waits_is_reported_and_blocks_nobody() {
    let mut rig = Rig::new();
    rig.pool(pool(None, Some("served")), 10);
    let lost = rig.enqueue_all(vec![of_kind("lost"); 3]);
    let served = rig.enqueue(of_kind("served"));
    assert_eq!(rig.grant_all(), [served]);
    let unserved = vec![(queue("q"), kind("lost"), 3)];
    assert_eq!(rig.manager.stats(&rig.now).unserved, unserved);
    rig.open_pool();
    assert_eq!(rig.manager.stats(&rig.now).unserved, []);
    assert_eq!(rig.grant_all(), lost);
}

#[test]
fn every_way_to_become_ready_reaches_a_waiting_pool_without_other_traffic() {
    let mut rig = Rig::new();
    rig.open_pool();
    let one = rig.enqueue(ordered(1));
    let two = rig.enqueue(ordered(1));
    let token = rig.grant_of(one);
    rig.settle(token, crate::rig::fail());
    rig.pass(secs(1));
    let token = rig.grant_of(one); // fallen due
    rig.give_back(token);
    rig.grant_of(one); // given back
    rig.pass(secs(30));
    rig.pass(secs(1));
    let token = rig.grant_of(one); // lease ran out
    rig.settle(token, succeed());
    let token = rig.grant_of(two); // its key became free
    rig.settle(token, mq_core::command::Settlement::Interrupt);
    rig.grant_of(two); // interrupted
    rig.pause("q", true);
    let three = rig.enqueue(draft());
    assert_eq!(rig.grant(), None);
    rig.pause("q", false);
    rig.grant_of(three); // resumed
    rig.reopen();
    rig.open_pool();
    rig.grant_of(two); // restored
}

#[test]
fn explain_names_the_first_reason() {
    let mut rig = Rig::new();
    let (one, two) = (rig.enqueue(ordered(1)), rig.enqueue(ordered(1)));
    let explain = |rig: &Rig, id| rig.manager.explain(&rig.now, id);
    let (q, k) = (queue("q"), kind("k"));
    let no_pool = Explanation::NoPool {
        queue: q.clone(),
        kind: k.clone(),
    };
    assert_eq!(explain(&rig, one), no_pool);
    let blocked = Explanation::Blocked {
        by: one,
        state: mq_core::view::StateKind::Ready,
    };
    assert_eq!(explain(&rig, two), blocked);
    let pool = rig.pool(pool(None, None), 0);
    let no_permit = Explanation::NoPermit {
        queue: q.clone(),
        kind: k,
    };
    assert_eq!(explain(&rig, one), no_permit);
    rig.manager.add_permits(pool, 1);
    assert_eq!(explain(&rig, one), Explanation::InLine);
    rig.pause("q", true);
    assert_eq!(explain(&rig, one), Explanation::QueuePaused { queue: q });
    rig.pause("q", false);
    let token = rig.grant_of(one);
    assert_eq!(explain(&rig, one), Explanation::Running { token });
    rig.crash();
    rig.enqueue(draft());
    rig.open_pool();
    let token = rig.grant_of(one);
    rig.settle(token, succeed());
    assert_eq!(explain(&rig, one), Explanation::NotKept);
    rig.operate(two, Operation::Cancel).unwrap();
    assert_eq!(explain(&rig, two).to_string(), "settled, and not kept");
}

#[test]
fn a_waiting_suspect_is_explained() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 2]);
    rig.grant_all();
    rig.crash();
    rig.open_pool();
    rig.grant_of(ids[0]);
    let explanation = rig.manager.explain(&rig.now, ids[1]);
    assert_eq!(explanation, Explanation::SuspectWaits { running: ids[0] });
}

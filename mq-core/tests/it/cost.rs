//! What operations cost when a million messages wait: a handful of steps each, whatever the number.

use mq_core::command::{Operation, Settlement};
use mq_core::id::{MessageId, PoolId, Seq};
use mq_core::key::DedupPolicy;
use mq_core::manager::Config;
use mq_core::message::{Draft, Due, Priority};
use mq_core::name::{Label, QueueName};
use mq_core::view::Filter;

use crate::rig::{
    Rig, deduped, delayed, draft, fail, idempotent, ordered, pool, priority, retained, secs,
    succeed,
};

/// Far more than any operation takes, far less than any scan.
const STEPS_MAX: u64 = 60;

/// A store in which a million messages wait in many ways.
fn crowded() -> (Rig, PoolId) {
    let mut rig = Rig::with(Config {
        capacity_messages: 2_000_000,
        keys: 10_000_000,
        ..Config::default()
    });
    let pool = rig.pool(pool(None, None), 0);
    for round in 0..100u128 {
        let mut drafts = vec![draft(); 9_500];
        drafts.extend((0..100).map(|key| ordered(key % 7)));
        drafts.extend((0..100).map(|key| deduped(round * 100 + key, DedupPolicy::Keep, 1)));
        drafts.extend((0..100).map(|key| idempotent(round * 100 + key, 1)));
        drafts.extend((0..100).map(|after| delayed(secs(1_000_000 + after))));
        drafts.extend((0..100).map(|_| Draft {
            expires_in: Some(secs(1_000_000)),
            ..draft()
        }));
        rig.enqueue_all(drafts);
    }
    (rig, pool)
}

struct Crowd {
    rig: Rig,
    pool: PoolId,
}

impl Crowd {
    /// Runs an operation and holds it to the bound.
    fn costs<T>(&mut self, what: &str, operation: impl FnOnce(&mut Rig) -> T) -> T {
        let before = self.rig.manager.steps();
        let answer = operation(&mut self.rig);
        let steps = self.rig.manager.steps() - before;
        assert!(steps <= STEPS_MAX, "{what}: {steps} steps");
        assert!(steps > 0, "{what} is not counted");
        answer
    }

    fn grant(&mut self) -> mq_core::id::LeaseToken {
        self.rig.manager.add_permits(self.pool, 1);
        self.costs("grant", |rig| rig.grant().unwrap()).token
    }
}

#[test]
fn no_operation_scans_a_million_waiting_messages() {
    let (rig, pool) = crowded();
    let mut crowd = Crowd { rig, pool };
    let middle = |nth: u64| {
        MessageId::new(
            crate::rig::START,
            Seq::new(nth).unwrap(),
            Default::default(),
        )
    };
    enqueue_each_way(&mut crowd);
    settle_each_way(&mut crowd);
    let label = Label::new("aside").unwrap();
    let operations = [
        (500_001, Operation::Hold(label)),
        (500_001, Operation::Release),
        (500_002, Operation::SetPriority(priority(9))),
        (500_003, Operation::MoveTo(QueueName::new("new").unwrap())),
        (500_004, Operation::Reschedule(Due::After(secs(5)))),
        (500_004, Operation::RunNow),
        (500_005, Operation::Cancel),
    ];
    for (nth, operation) in operations {
        let what = operation.as_str();
        crowd.costs(what, |rig| rig.operate(middle(nth), operation).unwrap());
    }
    crowd.costs("lookup", |rig| rig.state(middle(600_000)));
    crowd.costs("explain", |rig| {
        rig.manager.explain(&rig.now, middle(600_000))
    });
    crowd.costs("stats", |rig| rig.manager.stats(&rig.now));
    crowd.costs("page", |rig| {
        let after = Seq::new(700_000).unwrap();
        rig.manager.list(&rig.now, &Filter::default(), after, 20)
    });
    crowd.costs("pause", |rig| rig.pause("q", true));
    crowd.costs("resume", |rig| rig.pause("q", false));
    let token = crowd.grant();
    crowd.rig.settle(token, fail());
    crowd.costs("fall due", |rig| rig.pass(secs(1)));
    crowd.grant();
    crowd.costs("lease expiry", |rig| rig.pass(secs(30)));
    let before = crowd.rig.manager.steps();
    assert!(crowd.rig.manager.image().len() > 1_000_000);
    assert_eq!(
        crowd.rig.manager.steps(),
        before,
        "an image looks at nothing"
    );
}

fn enqueue_each_way(crowd: &mut Crowd) {
    let policies = [
        DedupPolicy::Keep,
        DedupPolicy::Replace,
        DedupPolicy::DiscardIdentical,
        DedupPolicy::RunOnceMore,
    ];
    for (policy, key) in policies.into_iter().zip(5_000..) {
        let draft = deduped(key, policy, 2);
        crowd.costs("dedup", |rig| rig.enqueue(draft));
    }
    let drafts = [
        draft(),
        ordered(3),
        idempotent(50_000, 1),
        delayed(secs(7)),
        Draft {
            priority: Priority::new(9).unwrap(),
            ..retained(secs(10))
        },
    ];
    for draft in drafts {
        crowd.costs("enqueue", |rig| rig.enqueue(draft));
    }
}

fn settle_each_way(crowd: &mut Crowd) {
    let settlements = [
        succeed(),
        fail(),
        Settlement::Snooze { delay: secs(5) },
        Settlement::Interrupt,
        Settlement::Discard { failure: None },
    ];
    for settlement in settlements {
        let token = crowd.grant();
        crowd.costs("settle", |rig| rig.settle(token, settlement));
    }
    let token = crowd.grant();
    crowd.costs("give back", |rig| rig.give_back(token));
}

#[test]
fn the_manager_can_move_to_another_thread_and_an_image_too() {
    fn is_send<T: Send + 'static>() {}
    is_send::<mq_core::manager::QueueManager>();
    is_send::<mq_core::manager::Image>();
}

//! A lease keeps its worker until every thread that works on it is over.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use mq_core::backend::Grant;
use mq_core::id::{Incarnation, LeaseToken, MessageId, Seq, StoreTag};
use mq_core::message::NewMessage;
use mq_core::time::Timestamp;
use mq_testing::clock::ManualClock;
use mq_testing::naive::{Limits, Naive};
use tokio::sync::oneshot;

use super::Lease;
use crate::attempt::End;
use crate::states::States;

fn lease() -> Lease {
    let id = MessageId::new(0, Seq::default().next(), StoreTag::new(1));
    let token = LeaseToken {
        id,
        delivery: 1,
        incarnation: Incarnation(1),
    };
    let message = NewMessage::new("q".parse().unwrap(), "k".parse().unwrap(), "{}".into());
    let grant = Grant {
        token,
        queue: message.queue,
        kind: message.kind,
        envelope: Arc::new(message.envelope),
        attempt: 1,
        enqueued: Timestamp::from_ms(1),
        due: Timestamp::from_ms(2),
        suspect: false,
        checkpoint: None,
        last: None,
    };
    let store = Naive::new(Arc::<ManualClock>::default(), Limits::default());
    Lease::new(grant, Arc::new(States::default()), Arc::new(store), None)
}

#[test]
fn every_thread_that_a_layer_gave_up_on_is_waited_for() {
    let lease = lease();
    let (first, ended) = oneshot::channel();
    lease.give_up_thread(ended);
    let (second, ended) = oneshot::channel();
    lease.give_up_thread(ended);
    let mut left = pin!(lease.left_by_thread());
    let mut context = Context::from_waker(Waker::noop());
    second.send(End::Succeeded { result: None }).unwrap();
    assert_eq!(left.as_mut().poll(&mut context), Poll::Pending);
    first.send(End::Succeeded { result: None }).unwrap();
    assert_eq!(left.as_mut().poll(&mut context), Poll::Ready(()));
}

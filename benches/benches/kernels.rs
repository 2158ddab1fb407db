//! What the parts cost by themselves: checksum, envelope, records, one step of the rules, keys, timers, image, snapshot, recovery.
//!
//! `cargo bench -p mq-benches --bench kernels`. The rules are measured with nothing and with a million messages beside what is
//! done: they do not scan, so both should cost nearly the same.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use mq::environment::SystemClock;
use mq_benches::rig::{Rig, draft, settle};
use mq_benches::store::{Flavour, builder, fill, message};
use mq_core::command::EnqueueBatch;
use mq_core::event::Event;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::message::{Draft, Due};
use mq_core::time::Clock;
use mq_persistence::envelope::{seal, unseal};
use mq_persistence::record::{self, RawRecord};
use mq_persistence::{Frame, Identity};

const SIZES: [usize; 2] = [256, 1024];
const BACKLOGS: [usize; 2] = [0, 1_000_000];

fn identity() -> Identity {
    let mut number = 0;
    let mut random = move || {
        number += 0x9e37_79b9_7f4a_7c15_u64;
        number
    };
    Identity::draw(&mut random, SystemClock::start().wall())
}

fn bytes(criterion: &mut Criterion) {
    let identity = identity();
    let mut group = criterion.benchmark_group("bytes");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let payload = vec![0x42_u8; size];
        group.bench_function(format!("checksum/{size}"), |b| {
            b.iter(|| identity.seed().checksum(black_box(&payload)));
        });
        let envelope = message(size).expect("the names are good").envelope;
        group.bench_function(format!("seal/{size}"), |b| {
            b.iter(|| seal(black_box(&envelope), &identity));
        });
        let sealed = seal(&envelope, &identity);
        group.bench_function(format!("unseal/{size}"), |b| {
            b.iter(|| unseal(black_box(&sealed.bytes)).expect("it was just sealed"));
        });
    }
    group.finish();
}

/// An enqueue event and a finish, into a frame and out of its bytes.
fn records(criterion: &mut Criterion) {
    let identity = identity();
    let mut rig = Rig::new(0);
    let envelope = message(256).expect("the names are good").envelope;
    let mut with_envelope = draft();
    with_envelope.sealed = seal(&envelope, &identity);
    let drafts = vec![with_envelope];
    let enqueued = rig.events_of(&EnqueueBatch {
        drafts: drafts.into(),
    });
    let enqueued = enqueued.last().expect("an enqueue is an event");
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("encode-1000-enqueued", |b| {
        b.iter_batched_ref(
            || Frame::new(&identity),
            |frame| (0..1_000).for_each(|_| frame.append(black_box(enqueued))),
            BatchSize::LargeInput,
        );
    });
    let finished = Event::Finished {
        seq: rig.manager.last_seq(),
    };
    group.bench_function("encode-1000-finished", |b| {
        b.iter_batched_ref(
            || Frame::new(&identity),
            |frame| (0..1_000).for_each(|_| frame.append(black_box(&finished))),
            BatchSize::LargeInput,
        );
    });
    let mut buffer = Vec::new();
    let image = rig.manager.image();
    let fact = image.records().last().expect("a message is a fact");
    record::encode_image(&fact, identity.seed(), &mut buffer);
    group.throughput(Throughput::Elements(1));
    group.bench_function("verify-and-decode-message-fact", |b| {
        b.iter(|| {
            let (raw, _) = RawRecord::split(black_box(&buffer)).expect("it is whole");
            raw.verify(identity.seed()).expect("it is whole");
            raw.decode().expect("it is known")
        });
    });
    group.finish();
}

/// One message in and out, decided and applied; and a hundred thousand that fall due at once.
fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(1));
    for backlog in BACKLOGS {
        let mut rig = Rig::new(backlog);
        let pool = rig.pool();
        group.bench_function(format!("enqueue-grant-settle/{backlog}-waiting"), |b| {
            b.iter(|| {
                rig.enqueue(draft());
                rig.manager.add_permits(pool, 1);
                let granted = rig.grant().expect("something is ready");
                rig.run(&settle(granted.token)).expect("the lease is held");
            });
        });
        group.bench_function(format!("image/{backlog}-waiting"), |b| {
            b.iter(|| black_box(rig.manager.image()));
        });
    }
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("timers/100000-fall-due", |b| {
        b.iter_batched_ref(
            || {
                let mut rig = Rig::new(0);
                for second in 1..=100_000 {
                    let mut later = draft();
                    later.due = Due::After(Duration::from_millis(second));
                    rig.enqueue(later);
                }
                rig
            },
            |rig| rig.pass(Duration::from_secs(200)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Two messages in and out, each with a key of its own or both with one, beside none or a million that wait and have keys of theirs.
fn keyed(criterion: &mut Criterion) {
    let key = |number: usize| KeyHash(u128::try_from(number).expect("small"));
    let dedup = |number| Draft {
        dedup: Some((key(number), DedupPolicy::Keep)),
        ..draft()
    };
    let ordered = |number| Draft {
        ordering: Some(key(number)),
        ..draft()
    };
    let pair = |number: usize| ordered(number / 2);
    keyed_by("dedup", dedup, criterion);
    keyed_by("ordered", ordered, criterion);
    keyed_by("two-of-one-key", pair, criterion);
}

fn keyed_by(name: &str, make: impl Fn(usize) -> Draft, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keyed");
    group.throughput(Throughput::Elements(2));
    for backlog in BACKLOGS {
        let mut rig = Rig::filled(backlog, &make);
        let pool = rig.pool();
        let mut number = backlog;
        group.bench_function(format!("{name}/{backlog}-waiting"), |b| {
            b.iter(|| {
                for _ in 0..2 {
                    rig.enqueue(make(number));
                    number += 1;
                }
                for _ in 0..2 {
                    rig.manager.add_permits(pool, 1);
                    let granted = rig.grant().expect("something is ready");
                    rig.run(&settle(granted.token)).expect("the lease is held");
                }
            });
        });
    }
    group.finish();
}

/// A snapshot and a recovery of a hundred thousand messages on the disk at hand.
fn store(criterion: &mut Criterion) {
    const COUNT: usize = 100_000;
    let folder = tempfile::tempdir_in(".").expect("the folder can be written");
    let path = folder.path().join("store");
    let engine = builder(&path).0.open_wait().expect("a new store opens");
    fill(&engine, Flavour::Plain, 0, COUNT).expect("there is room");
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.sample_size(10);
    group.bench_function("snapshot/100000", |b| {
        b.iter(|| engine.admin().snapshot().wait().expect("there is room"));
    });
    drop(engine);
    let path = folder.path().join("journal");
    let engine = builder(&path).0.open_wait().expect("a new store opens");
    fill(&engine, Flavour::Plain, 0, COUNT).expect("there is room");
    drop(engine);
    group.bench_function("recovery/100000", |b| {
        b.iter_custom(|times| {
            let mut taken = Duration::ZERO;
            for _ in 0..times {
                let clock = SystemClock::start();
                let engine = builder(&path).0.open_wait().expect("it was left whole");
                taken += clock.monotonic();
                drop(engine);
            }
            taken
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bytes(&mut criterion);
    records(&mut criterion);
    rules(&mut criterion);
    keyed(&mut criterion);
    store(&mut criterion);
    criterion.final_summary();
}

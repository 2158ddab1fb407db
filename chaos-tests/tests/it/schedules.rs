//! Schedules of the whole engine: each due time once, whatever the clock, the disk and the operator do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq::{
    Dedup, Limit, Missed, NewMessage, Outgoing, Put, SCHEDULE_HEADER, SCHEDULED_FOR_HEADER,
    Schedule, ScheduleView, Timestamp,
};
use mq_core::command::Settlement;
use mq_core::id::Seq;
use mq_core::view::Filter;
use mq_testing::clock::{ManualClock, START_MS};
use mq_testing::crash_points::{Checked, Crash, Plan, Reopened, crash_everywhere};
use mq_testing::sim_disk::{CrashMode, SimDisk};

const SUCCEED: Settlement = Settlement::Succeed { result: None };

fn message() -> NewMessage {
    NewMessage::new(
        "reports".parse().unwrap(),
        "report".parse().unwrap(),
        Bytes::from_static(b"{}"),
    )
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many seconds after the start of the machine's clock.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + seconds * 1_000)
}

fn try_put(machine: &Machine, name: &str, schedule: Schedule) -> Result<Put, String> {
    let schedules = machine.engine()?.schedules();
    machine
        .block(schedules.put(name, schedule))
        .map_err(|error| error.to_string())
}

fn put(machine: &Machine, name: &str, schedule: Schedule) -> Put {
    try_put(machine, name, schedule).unwrap()
}

fn every(seconds: u64) -> Schedule {
    Schedule::every(secs(seconds)).message(message())
}

fn view(machine: &Machine, name: &str) -> ScheduleView {
    let schedules = machine.engine().unwrap().schedules();
    machine.block(schedules.get(name)).unwrap().unwrap()
}

fn next_of(machine: &Machine, name: &str) -> Option<Timestamp> {
    view(machine, name).next
}

/// Time passes, and all that it brings is done.
fn pass(machine: &Machine, time: Duration) {
    machine.pass(time);
    machine.settle_down();
}

/// For which times messages are in the store, and how many for each.
fn sent(machine: &Machine) -> Result<BTreeMap<String, usize>, String> {
    let backend = machine.backend();
    let page = backend.list(Filter::default(), Seq::NONE, 10_000).wait();
    let page = page.map_err(|error| error.to_string())?;
    let mut sent = BTreeMap::new();
    for view in page.map_err(|error| error.to_string())?.messages {
        let envelope = backend.envelope(view.id).wait();
        let envelope = envelope.map_err(|error| error.to_string())?;
        let Some(envelope) = envelope.map_err(|error| error.to_string())? else {
            continue;
        };
        let header = |wanted: &str| {
            let mut headers = envelope.headers.iter();
            headers
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
        };
        if header(SCHEDULE_HEADER).is_some() {
            let for_when = header(SCHEDULED_FOR_HEADER).ok_or("no scheduled-for")?;
            *sent.entry(for_when).or_insert(0) += 1;
        }
    }
    Ok(sent)
}

fn times(machine: &Machine) -> Vec<String> {
    let sent = sent(machine).unwrap();
    assert!(sent.values().all(|count| *count == 1), "{sent:?}");
    sent.into_keys().collect()
}

fn reopen(machine: Machine, disk: &SimDisk, later: Duration) -> Machine {
    let mut machine = machine;
    let clock = Arc::clone(machine.clock());
    machine.close().unwrap();
    clock.advance(later);
    Machine::open_on(disk, clock, 1, |builder| builder).unwrap()
}

#[test]
fn a_schedule_fires_at_its_time_and_says_for_which() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    assert_eq!(put(&machine, "poll", every(10)), Put::Created);
    assert_eq!(next_of(&machine, "poll"), Some(at(10)));
    pass(&machine, secs(9));
    assert!(times(&machine).is_empty());
    pass(&machine, secs(1));
    assert_eq!(times(&machine), ["2026-01-01T00:00:10.000Z"]);
    let grants = machine.take(5);
    assert_eq!(
        grants[0].envelope.headers,
        [
            ("mq-schedule".to_owned(), "poll".to_owned()),
            (
                "mq-scheduled-for".to_owned(),
                "2026-01-01T00:00:10.000Z".to_owned()
            )
        ]
    );
    let view = view(&machine, "poll");
    assert_eq!((view.next, view.runs), (Some(at(20)), 1));
    assert_eq!(view.last.unwrap().due, at(10));
    assert_eq!(view.trouble, None);
}

#[test]
fn a_night_with_a_gap_and_one_with_an_overlap_have_one_run_each() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    // 2026-03-29T00:30Z: half an hour before the gap in Berlin.
    let gap = Timestamp::from_ms(1_774_744_200_000);
    machine.clock().set_wall(gap);
    let nightly = Schedule::cron("30 2 * * *").zone("Europe/Berlin");
    put(&machine, "nightly", nightly.message(message()));
    for _ in 0..12 {
        pass(&machine, Duration::from_secs(600));
    }
    assert_eq!(
        times(&machine),
        ["2026-03-29T01:00:00.000Z"],
        "at three o'clock"
    );
    // 2026-10-24T23:50Z: before the repeated hour; what was missed in between is one run.
    machine
        .clock()
        .set_wall(Timestamp::from_ms(1_792_885_800_000));
    for _ in 0..24 {
        pass(&machine, Duration::from_secs(600));
    }
    assert_eq!(
        times(&machine),
        [
            "2026-03-29T01:00:00.000Z",
            "2026-10-24T00:30:00.000Z",
            "2026-10-25T00:30:00.000Z"
        ],
        "half past two of summer time only"
    );
}

#[test]
fn missed_runs_are_made_up_for_as_the_policy_says() {
    for (missed, expected, skipped) in [
        (Missed::Skip, vec![], 5),
        (Missed::Once, vec!["2026-01-01T00:50:00.000Z"], 4),
        (
            Missed::All,
            vec![
                "2026-01-01T00:10:00.000Z",
                "2026-01-01T00:20:00.000Z",
                "2026-01-01T00:30:00.000Z",
                "2026-01-01T00:40:00.000Z",
                "2026-01-01T00:50:00.000Z",
            ],
            0,
        ),
    ] {
        let disk = SimDisk::new();
        let machine = Machine::open(&disk, 0).unwrap();
        put(&machine, "poll", every(600).missed(missed));
        let machine = reopen(machine, &disk, secs(55 * 60));
        machine.settle_down();
        assert_eq!(times(&machine), expected, "{missed:?}");
        let view = view(&machine, "poll");
        assert_eq!((view.skipped, view.next), (skipped, Some(at(3_600))));
        pass(&machine, secs(5 * 60));
        assert_eq!(times(&machine).len(), expected.len() + 1, "{missed:?}");
    }
}

#[test]
fn many_missed_runs_come_in_pages_and_all_of_them_come() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(1).missed(Missed::All));
    let machine = reopen(machine, &disk, secs(300));
    for _ in 0..10 {
        machine.settle_down();
    }
    assert_eq!(times(&machine).len(), 300);
    assert_eq!(view(&machine, "poll").runs, 300);
}

#[test]
fn the_same_schedule_put_at_every_start_still_makes_up_for_what_was_missed() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(600));
    let mut machine = machine;
    let clock = Arc::clone(machine.clock());
    machine.close().unwrap();
    clock.advance(secs(700));
    // A program that puts its schedules before it lets them fire.
    let machine =
        Machine::open_on(&disk, clock, 1, |builder| builder.fire_schedules(false)).unwrap();
    assert_eq!(put(&machine, "poll", every(600)), Put::Unchanged);
    let louder = Outgoing::from(message()).priority(9);
    let changed = Schedule::every(secs(600)).message(louder);
    assert_eq!(put(&machine, "poll", changed), Put::Changed);
    assert_eq!(next_of(&machine, "poll"), Some(at(600)));
    pass(&machine, secs(5));
    assert!(times(&machine).is_empty(), "this process fires nothing");
    let machine = reopen(machine, &disk, secs(0));
    machine.settle_down();
    assert_eq!(times(&machine), ["2026-01-01T00:10:00.000Z"]);
    assert_eq!(machine.take(1).len(), 1);
}

#[test]
fn a_default_that_an_operator_changed_stays_as_the_operator_left_it() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let schedules = machine.engine().unwrap().schedules();
    let default = || schedules.put_default("poll", every(600));
    assert_eq!(machine.block(default()).unwrap(), Put::Created);
    put(&machine, "poll", every(30));
    assert_eq!(machine.block(default()).unwrap(), Put::Unchanged);
    assert_eq!(next_of(&machine, "poll"), Some(at(30)));
}

#[test]
fn a_paused_schedule_stays_paused_over_a_restart_and_makes_up_for_nothing() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(10));
    let schedules = machine.engine().unwrap().schedules();
    machine.block(schedules.pause("poll")).unwrap();
    drop(schedules);
    pass(&machine, secs(100));
    let machine = reopen(machine, &disk, secs(100));
    put(&machine, "poll", every(10));
    pass(&machine, secs(100));
    assert!(times(&machine).is_empty());
    assert!(view(&machine, "poll").paused);
    assert_eq!(next_of(&machine, "poll"), None);
    let schedules = machine.engine().unwrap().schedules();
    let preview = machine.block(schedules.next_fires("poll", 2)).unwrap();
    assert_eq!(preview, [at(310), at(320)]);
    machine.block(schedules.resume("poll")).unwrap();
    machine.settle_down();
    assert!(times(&machine).is_empty());
    pass(&machine, secs(10));
    assert_eq!(times(&machine), ["2026-01-01T00:05:10.000Z"]);
}

#[test]
fn a_fire_into_a_full_store_is_shown_counted_and_made_up_for() {
    let disk = SimDisk::new();
    let machine =
        Machine::open_with(&disk, 0, |builder| builder.capacity(Limit::messages(64))).unwrap();
    put(&machine, "poll", every(10));
    let full = vec![message(); 64];
    let backend = machine.backend();
    backend
        .enqueue(full, mq_core::backend::WhenFull::Refuse)
        .wait()
        .unwrap()
        .unwrap();
    pass(&machine, secs(10));
    let stuck = view(&machine, "poll");
    assert!(
        stuck.trouble.as_ref().unwrap().contains("full"),
        "{stuck:?}"
    );
    assert_eq!((stuck.refusals, stuck.runs), (1, 0));
    machine.settle_down();
    assert_eq!(view(&machine, "poll").refusals, 1, "not tried at once");
    pass(&machine, secs(1));
    assert_eq!(view(&machine, "poll").refusals, 2);
    let grant = machine.take(1).remove(0);
    machine.settle(&grant, SUCCEED, Vec::new()).unwrap();
    pass(&machine, secs(1));
    let sent = view(&machine, "poll");
    assert_eq!((sent.trouble, sent.refusals, sent.runs), (None, 2, 1));
    assert_eq!(times(&machine), ["2026-01-01T00:00:10.000Z"]);
}

#[test]
fn a_fire_on_a_full_disk_is_neither_lost_nor_doubled() {
    let disk = SimDisk::with_capacity(3 << 20);
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(10).missed(Missed::All));
    let mut large = message();
    large.envelope.payload = vec![7; 20_000].into();
    for _ in 0..400 {
        let sent = machine
            .backend()
            .enqueue(vec![large.clone()], mq_core::backend::WhenFull::Refuse);
        if sent.wait().unwrap().is_err() {
            break;
        }
        machine.maintain();
    }
    for _ in 0..30 {
        pass(&machine, secs(1));
    }
    let stuck = view(&machine, "poll");
    assert!(
        stuck.trouble.as_ref().unwrap().contains("disk"),
        "{stuck:?}"
    );
    assert_eq!((stuck.runs, stuck.next), (0, Some(at(10))));
    assert!(times(&machine).is_empty());
    disk.set_capacity(None);
    machine.maintain();
    for _ in 0..3 {
        pass(&machine, secs(1));
    }
    let made_up = times(&machine);
    assert_eq!(
        made_up,
        [
            "2026-01-01T00:00:10.000Z",
            "2026-01-01T00:00:20.000Z",
            "2026-01-01T00:00:30.000Z",
        ]
    );
    let goes_on = view(&machine, "poll");
    assert_eq!((goes_on.trouble, goes_on.runs), (None, 3));
    drop(machine);
    let machine = Machine::open(&disk.restart_process(), 0).unwrap();
    assert_eq!(times(&machine), made_up);
}

#[test]
fn a_program_that_puts_its_schedules_again_starts_on_a_full_disk() {
    let disk = SimDisk::with_capacity(3 << 20);
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(1_000_000));
    let large = || {
        let payload = Bytes::from(vec![7; 20_000]);
        NewMessage::new(
            "reports".parse().unwrap(),
            "large".parse().unwrap(),
            payload,
        )
    };
    let backend = machine.backend();
    let refuse = mq_core::backend::WhenFull::Refuse;
    while backend
        .enqueue(vec![large()], refuse)
        .wait()
        .unwrap()
        .is_ok()
    {
        machine.maintain();
    }
    assert_eq!(put(&machine, "poll", every(1_000_000)), Put::Unchanged);
    let error = try_put(&machine, "poll", every(10)).unwrap_err();
    assert!(error.contains("full"), "{error}");
    let error = try_put(&machine, "other", every(10)).unwrap_err();
    assert!(error.contains("full"), "{error}");
}

#[test]
fn a_wall_clock_that_goes_back_does_not_fire_twice() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let schedule = Schedule::cron("* * * * *").message(message());
    put(&machine, "minute", schedule);
    pass(&machine, secs(60));
    assert_eq!(times(&machine), ["2026-01-01T00:01:00.000Z"]);
    machine.clock().set_wall(at(30));
    pass(&machine, secs(40));
    assert_eq!(
        times(&machine).len(),
        1,
        "one minute past came a second time"
    );
    pass(&machine, secs(50));
    assert_eq!(
        times(&machine),
        ["2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z"]
    );
}

#[test]
fn an_interval_goes_on_after_the_wall_clock_was_set_back() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    machine.clock().set_wall(at(86_400));
    put(&machine, "poll", every(60));
    put(
        &machine,
        "daily",
        Schedule::cron("0 0 * * *").message(message()),
    );
    pass(&machine, secs(60));
    assert_eq!(times(&machine), ["2026-01-02T00:01:00.000Z"]);
    machine.clock().set_wall(at(0));
    machine.settle_down();
    assert_eq!(next_of(&machine, "poll"), Some(at(60)));
    assert_eq!(
        next_of(&machine, "daily"),
        Some(at(2 * 86_400)),
        "a date is a date"
    );
    pass(&machine, secs(60));
    assert_eq!(
        times(&machine),
        ["2026-01-01T00:01:00.000Z", "2026-01-02T00:01:00.000Z"]
    );
}

#[test]
fn an_interval_goes_on_if_the_clock_was_set_back_while_the_store_was_closed() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    machine.clock().set_wall(at(86_400));
    put(&machine, "poll", every(60));
    machine.clock().set_wall(at(0));
    let machine = reopen(machine, &disk, secs(0));
    machine.settle_down();
    assert_eq!(next_of(&machine, "poll"), Some(at(60)));
}

#[test]
fn a_fire_by_hand_is_sent_now_and_leaves_the_schedule_alone() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(10));
    put(&machine, "manual", Schedule::by_hand().message(message()));
    let schedules = machine.engine().unwrap().schedules();
    machine.block(schedules.pause("poll")).unwrap();
    pass(&machine, secs(3));
    machine.block(schedules.run_now("poll")).unwrap();
    machine.block(schedules.run_now("manual")).unwrap();
    let sent = sent(&machine).unwrap();
    assert_eq!(
        sent.into_iter().collect::<Vec<_>>(),
        [("2026-01-01T00:00:03.000Z".to_owned(), 2)]
    );
    assert!(view(&machine, "poll").paused);
    assert_eq!(view(&machine, "manual").next, None);
    assert_eq!(view(&machine, "manual").last.unwrap().due, at(3));
}

#[test]
fn runs_with_a_dedup_key_do_not_pile_up() {
    for dedup in [Dedup::keep("poll"), Dedup::reject("poll")] {
        let told = format!("{dedup:?}");
        let disk = SimDisk::new();
        let machine = Machine::open(&disk, 0).unwrap();
        let one = Outgoing::from(message()).dedup(dedup);
        put(
            &machine,
            "poll",
            Schedule::every(secs(10)).missed(Missed::All).message(one),
        );
        for _ in 0..3 {
            pass(&machine, secs(10));
        }
        assert_eq!(times(&machine), ["2026-01-01T00:00:10.000Z"], "{told}");
        let stuck = view(&machine, "poll");
        assert_eq!((stuck.next, stuck.trouble), (Some(at(40)), None));
        let grant = machine.take(1).remove(0);
        machine.settle(&grant, SUCCEED, Vec::new()).unwrap();
        pass(&machine, secs(10));
        assert_eq!(times(&machine), ["2026-01-01T00:00:40.000Z"], "{told}");
    }
}

#[test]
fn a_schedule_comes_back_from_a_snapshot_as_it_was() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(10));
    put(&machine, "paused", every(10));
    let schedules = machine.engine().unwrap().schedules();
    machine.block(schedules.pause("paused")).unwrap();
    drop(schedules);
    pass(&machine, secs(10));
    let before = view(&machine, "poll");
    // More than the journal that a snapshot of this machine waits for, in segments that are freed with it.
    for _ in 0..20 {
        let mut large = message();
        large.envelope.payload = Bytes::from(vec![7; 20_000]);
        let refuse = mq_core::backend::WhenFull::Refuse;
        let stored = machine.backend().enqueue(vec![large], refuse).wait();
        stored.unwrap().unwrap();
        let grant = machine.take(1).remove(0);
        machine.settle(&grant, SUCCEED, Vec::new()).unwrap();
        machine.settle_down();
        machine.maintain();
    }
    let files = disk.file_names();
    assert!(files.iter().any(|name| name.starts_with("snap-")));
    assert!(
        files.iter().all(|name| name != "j-0000000001.seg"),
        "{files:?}"
    );
    let machine = reopen(machine, &disk, secs(0));
    let after = view(&machine, "poll");
    assert_eq!((after.next, after.last), (before.next, before.last));
    assert_eq!((after.runs, after.paused), (1, false));
    assert!(view(&machine, "paused").paused);
}

#[test]
fn a_removed_schedule_does_not_fire() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    put(&machine, "poll", every(10));
    let schedules = machine.engine().unwrap().schedules();
    machine.block(schedules.remove("poll")).unwrap();
    let gone = machine.block(schedules.remove("poll")).unwrap_err();
    assert_eq!(gone.code(), "unknown_schedule");
    assert!(machine.block(schedules.get("poll")).unwrap().is_none());
    drop(schedules);
    pass(&machine, secs(100));
    let machine = reopen(machine, &disk, secs(100));
    machine.settle_down();
    assert!(times(&machine).is_empty());
}

#[test]
fn a_fire_that_power_loss_forgot_comes_again_and_one_that_it_kept_does_not() {
    for mode in [CrashMode::LoseAll, CrashMode::KeepAll] {
        let disk = SimDisk::new();
        let machine = Machine::open(&disk, 0).unwrap();
        put(&machine, "poll", every(10));
        let clock = Arc::clone(machine.clock());
        machine.pass(secs(10));
        let left = Crash::Power(mode).strike(&disk);
        drop(machine);
        let machine = Machine::open_on(&left, clock, 1, |builder| builder).unwrap();
        machine.settle_down();
        assert_eq!(times(&machine), ["2026-01-01T00:00:10.000Z"], "{mode:?}");
    }
}

/// What is known of a store with schedules through all its lives.
#[derive(Clone, Debug, Default)]
struct Known {
    lives: u64,
    wall_ms: u64,
    is_put: bool,
}

fn open(disk: &SimDisk, known: &mut Known) -> Result<Machine, String> {
    let clock = Arc::new(ManualClock::default());
    clock.set_wall(Timestamp::from_ms(START_MS + known.wall_ms));
    known.lives += 1;
    Machine::open_on(disk, clock, known.lives, |builder| builder)
}

fn pass_known(machine: &Machine, known: &mut Known, seconds: u64) {
    known.wall_ms += seconds * 1_000;
    pass(machine, secs(seconds));
}

fn life(disk: &SimDisk, known: &mut Known) -> Result<(), String> {
    let mut machine = open(disk, known)?;
    let tick = || every(10).missed(Missed::All);
    try_put(&machine, "tick", tick())?;
    known.is_put = true;
    try_put(
        &machine,
        "other",
        Schedule::every(secs(3_600)).message(message()),
    )?;
    for _ in 0..3 {
        pass_known(&machine, known, 10);
    }
    machine.maintain();
    try_put(&machine, "tick", tick())?;
    pass_known(&machine, known, 25);
    let schedules = machine.engine()?.schedules();
    machine
        .block(schedules.remove("other"))
        .map_err(|error| error.to_string())?;
    drop(schedules);
    machine.close()?;
    known.wall_ms += 30_000;
    let machine = open(disk, known)?;
    machine.settle_down();
    pass_known(&machine, known, 10);
    Ok(())
}

fn each_due_time_has_one_message(machine: &Machine, known: &Known) -> Result<(), String> {
    let schedules = machine.engine()?.schedules();
    let views = machine
        .block(schedules.list())
        .map_err(|error| error.to_string())?;
    let tick = views.iter().find(|view| view.name.as_str() == "tick");
    let Some(tick) = tick else {
        return if known.is_put {
            Err("a schedule that was put is gone".to_owned())
        } else {
            Ok(())
        };
    };
    let expected: BTreeMap<String, usize> = (1..=known.wall_ms / 10_000)
        .map(|number| {
            let due = START_MS + number * 10_000;
            let seconds = due / 1_000 % 3_600;
            let text = format!("2026-01-01T00:{:02}:{:02}.000Z", seconds / 60, seconds % 60);
            (text, 1)
        })
        .collect();
    let sent = sent(machine)?;
    if sent != expected {
        return Err(format!("sent {sent:?}, expected {expected:?}, {tick:?}"));
    }
    Ok(())
}

fn check(reopened: Reopened<'_, Known>) -> Result<Checked, String> {
    let Reopened {
        disk, knowledge, ..
    } = reopened;
    let machine = match open(disk, knowledge) {
        Ok(machine) => machine,
        Err(_) if disk.has_crashed() => return Ok(Checked::Interrupted),
        Err(error) => return Err(error),
    };
    machine.settle_down();
    pass_known(&machine, knowledge, 20);
    let verdict = each_due_time_has_one_message(&machine, knowledge);
    if disk.has_crashed() {
        return Ok(Checked::Interrupted);
    }
    verdict.map(|()| Checked::Complete)
}

#[test]
fn each_due_time_fires_exactly_once_wherever_the_machine_dies() {
    const SEED: u64 = 20_261_127;
    let report = crash_everywhere(&Plan::new(SEED, 11), life, check)
        .unwrap_or_else(|failure| panic!("seed {SEED}: {failure}"));
    println!("seed {SEED}: {report:?}");
    assert!(report.workload_ios > 60, "too small: {report:?}");
}

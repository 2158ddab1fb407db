//! What every [`Storage`] does alike: each test runs on a real directory and on the simulated disk.

use std::io::ErrorKind;
use std::sync::Arc;

use mq_persistence::storage::{
    DirectoryStorage, LockRefusal, OpenMode, Storage, read_exact_at, read_up_to_at, write_all_at,
};
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

fn on_both(test: impl Fn(Arc<dyn Storage>)) {
    let parent = tempfile::tempdir().unwrap();
    for storage in [
        Arc::new(DirectoryStorage::new(parent.path().join("data"))) as Arc<dyn Storage>,
        Arc::new(SimDisk::new()),
    ] {
        storage.create_directory().unwrap();
        storage.create_directory().unwrap();
        storage.inspect().unwrap();
        test(storage);
    }
}

#[test]
fn bytes_are_read_back_where_they_were_written() {
    on_both(|storage| {
        let file = storage.open("file", OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), b"world", 5000).unwrap();
        write_all_at(file.as_ref(), b"hello", 0).unwrap();
        file.sync_data().unwrap();
        let file = storage.open("file", OpenMode::Read).unwrap();
        assert_eq!(file.size().unwrap(), 5005);
        let mut bytes = [9; 10];
        read_exact_at(file.as_ref(), &mut bytes, 0).unwrap();
        assert_eq!(bytes, *b"hello\0\0\0\0\0");
        assert_eq!(read_up_to_at(file.as_ref(), &mut bytes, 5002).unwrap(), 3);
        assert_eq!(bytes[..3], *b"rld");
        assert_eq!(
            read_exact_at(file.as_ref(), &mut bytes, 5002)
                .unwrap_err()
                .kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(file.read_at(&mut bytes, 1 << 40).unwrap(), 0);
        assert!(file.write_at(b"x", 0).is_err(), "opened for reading only");
    });
}

#[test]
fn a_cut_file_grows_again_with_zeros() {
    on_both(|storage| {
        let file = storage.open("file", OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), &[1; 6000], 0).unwrap();
        file.set_size(5000).unwrap();
        file.set_size(6000).unwrap();
        let mut bytes = [9; 1001];
        read_exact_at(file.as_ref(), &mut bytes, 4999).unwrap();
        assert_eq!((bytes[0], &bytes[1..]), (1, &[0; 1000][..]));
    });
}

#[test]
fn names_are_created_once_replaced_by_renames_and_removed() {
    on_both(|storage| {
        let old = storage.open("b", OpenMode::CreateNew).unwrap();
        write_all_at(
            storage.open("a", OpenMode::CreateNew).unwrap().as_ref(),
            b"new",
            0,
        )
        .unwrap();
        assert_eq!(
            storage.open("a", OpenMode::CreateNew).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            storage.open("c", OpenMode::ReadWrite).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(storage.list().unwrap(), ["a", "b"]);
        storage.rename("a", "b").unwrap();
        assert_eq!(storage.list().unwrap(), ["b"]);
        assert_eq!(
            storage.open("b", OpenMode::Read).unwrap().size().unwrap(),
            3
        );
        write_all_at(old.as_ref(), b"still there", 0).unwrap();
        assert_eq!(old.size().unwrap(), 11, "an open handle outlives its name");
        storage.remove("b").unwrap();
        assert_eq!(storage.remove("b").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            storage.rename("b", "c").unwrap_err().kind(),
            ErrorKind::NotFound
        );
        storage.sync_directory().unwrap();
        assert!(storage.list().unwrap().is_empty());
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    on_both(|storage| {
        for name in ["", ".", "..", "a/b", "../a", "/a", "a\0b"] {
            let answers = [
                storage.open(name, OpenMode::CreateNew).map(drop),
                storage.rename(name, "x"),
                storage.rename("x", name),
                storage.remove(name),
                storage
                    .lock(name, "me")
                    .map(drop)
                    .map_err(|refusal| match refusal {
                        LockRefusal::Held { owner } => panic!("{owner}"),
                        LockRefusal::Io(error) => error,
                    }),
            ];
            for answer in answers {
                assert_eq!(
                    answer.unwrap_err().kind(),
                    ErrorKind::InvalidInput,
                    "{name:?}"
                );
            }
        }
        assert!(storage.list().unwrap().is_empty());
    });
}

#[test]
fn a_second_owner_is_refused_by_name_until_the_first_lets_go() {
    on_both(|storage| {
        let first = storage
            .lock("LOCK", "pid 4711 (a rather long name of a program)")
            .unwrap();
        assert!(first.verify().unwrap());
        let Err(LockRefusal::Held { owner }) = storage.lock("LOCK", "pid 2") else {
            panic!("two owners")
        };
        assert_eq!(owner, "pid 4711 (a rather long name of a program)");
        drop(first);
        let second = storage.lock("LOCK", "pid 2").unwrap();
        let Err(LockRefusal::Held { owner }) = storage.lock("LOCK", "pid 3") else {
            panic!("two owners")
        };
        assert_eq!(owner, "pid 2", "nothing is left of a longer text");
        drop(second);
    });
}

#[test]
fn a_lock_that_was_removed_or_replaced_is_noticed_and_lets_nobody_in() {
    on_both(|storage| {
        let lock = storage.lock("LOCK", "first").unwrap();
        storage.rename("LOCK", "OLD").unwrap();
        assert!(!lock.verify().unwrap());
        let Err(LockRefusal::Held { .. }) = storage.lock("LOCK", "second") else {
            panic!("two owners")
        };
        assert!(!lock.verify().unwrap());
        drop(lock);
        let other = storage.lock("LOCK", "second").unwrap();
        assert!(other.verify().unwrap());
    });
}

#[test]
fn there_is_free_space() {
    on_both(|storage| assert!(storage.free_bytes().unwrap() > 0));
}

#[test]
fn reads_and_writes_go_on_after_interruptions_and_short_transfers() {
    let disk = SimDisk::new();
    disk.create_directory().unwrap();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    for (nth, fault) in [
        (1, Fault::Interrupted),
        (2, Fault::Short),
        (3, Fault::Interrupted),
        (4, Fault::Short),
    ] {
        disk.fail_nth(IoKind::Write, nth, fault);
        disk.fail_nth(IoKind::Read, nth, fault);
    }
    let bytes: Vec<u8> = (0..=255).collect();
    write_all_at(file.as_ref(), &bytes, 7).unwrap();
    let mut read = vec![0; 256];
    read_exact_at(file.as_ref(), &mut read, 7).unwrap();
    assert_eq!(read, bytes);
    assert_eq!(
        (disk.count_of(IoKind::Write), disk.count_of(IoKind::Read)),
        (5, 5)
    );
}

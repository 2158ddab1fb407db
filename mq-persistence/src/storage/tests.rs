//! What only a real directory can show: permissions, links, owners, maps. What every storage does alike is tested where the simulated
//! disk is.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::directory::classify;
use super::*;

fn new_store(parent: &Path) -> DirectoryStorage {
    let storage = DirectoryStorage::new(parent.join("data"));
    storage.create_directory().unwrap();
    storage
}

fn permissions(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_directory_and_its_files_are_closed_to_others() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    storage.open("file", OpenMode::CreateNew).unwrap();
    let lock = storage.lock("LOCK", "me").unwrap();
    assert_eq!(permissions(storage.path()), 0o700);
    assert_eq!(permissions(&storage.path().join("file")), 0o600);
    assert_eq!(permissions(&storage.path().join("LOCK")), 0o600);
    assert_eq!(storage.inspect().unwrap().permissions, 0o700);
    drop(lock);
}

#[test]
fn a_directory_that_exists_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let storage = new_store(parent.path());
    assert_eq!(storage.inspect().unwrap().permissions, 0o750);
}

#[test]
fn a_missing_parent_is_an_error_and_creates_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let storage = DirectoryStorage::new(parent.path().join("no/data"));
    assert_eq!(
        storage.create_directory().unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(matches!(
        storage.inspect(),
        Err(StorageRefusal::Missing { .. })
    ));
    assert!(!parent.path().join("no").exists());
}

#[test]
fn a_directory_behind_a_symbolic_link_is_refused_with_and_without_a_slash() {
    let parent = tempfile::tempdir().unwrap();
    fs::create_dir(parent.path().join("real")).unwrap();
    symlink("real", parent.path().join("data")).unwrap();
    for name in ["data", "data/", "data/."] {
        let storage = DirectoryStorage::new(parent.path().join(name));
        storage.create_directory().unwrap();
        assert!(
            matches!(storage.inspect(), Err(StorageRefusal::Symlink { .. })),
            "{name}"
        );
        storage.open("file", OpenMode::CreateNew).unwrap_err();
    }
    assert_eq!(fs::read_dir(parent.path().join("real")).unwrap().count(), 0);
}

#[test]
fn a_data_path_that_is_a_file_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("data"), b"precious").unwrap();
    let storage = new_store(parent.path());
    assert!(matches!(
        storage.inspect(),
        Err(StorageRefusal::NotADirectory { .. })
    ));
    assert_eq!(fs::read(storage.path()).unwrap(), b"precious");
}

#[test]
fn a_directory_of_another_user_is_refused_naming_both() {
    let parent = tempfile::tempdir().unwrap();
    let user = fs::metadata(parent.path()).unwrap().uid();
    // The superuser gives a directory away; anybody else takes one that is the superuser's.
    let path = if user == 0 {
        parent.path().join("data")
    } else {
        "/".into()
    };
    if user == 0 {
        fs::create_dir(&path).unwrap();
        chown(&path, Some(12_345), None).unwrap();
    }
    let refusal = DirectoryStorage::new(&path).inspect().unwrap_err();
    let StorageRefusal::ForeignOwner {
        owner, user: named, ..
    } = &refusal
    else {
        panic!("{refusal}")
    };
    assert_eq!((*owner, *named), (if user == 0 { 12_345 } else { 0 }, user));
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_as_the_last_reason() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    fs::set_permissions(storage.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let inspected = storage.inspect();
    let superuser = fs::metadata(parent.path()).unwrap().uid() == 0;
    // Permissions do not bind the superuser, who has nothing to be refused here.
    assert_eq!(
        matches!(inspected, Err(StorageRefusal::ReadOnly { .. })),
        !superuser,
        "{inspected:?}"
    );
}

#[test]
fn network_file_systems_are_refused_and_local_ones_told_apart() {
    assert_eq!(classify(0x6969), Err("NFS"));
    assert_eq!(classify(0xff53_4d42), Err("SMB"));
    assert_eq!(classify(0xef53), Ok(Filesystem::Ext));
    assert_eq!(classify(0x5846_5342), Ok(Filesystem::Xfs));
    assert!(!classify(0x9123_683e).unwrap().overwrites_in_place());
    assert!(!classify(0x0102_1994).unwrap().is_persistent());
    assert_eq!(classify(1), Ok(Filesystem::Other(1)));
}

#[test]
fn links_and_pipes_planted_under_a_name_are_refused_and_do_not_hang() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    fs::write(parent.path().join("outside"), b"precious").unwrap();
    symlink(parent.path().join("outside"), storage.path().join("link")).unwrap();
    let pipe = storage.path().join("pipe");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    fs::create_dir(storage.path().join("dir")).unwrap();
    for name in ["link", "pipe", "dir"] {
        storage.open(name, OpenMode::Read).unwrap_err();
        storage.open(name, OpenMode::ReadWrite).unwrap_err();
        assert!(
            matches!(storage.lock(name, "me"), Err(LockRefusal::Io(_))),
            "{name}"
        );
    }
    assert_eq!(
        fs::read(parent.path().join("outside")).unwrap(),
        b"precious"
    );
}

#[test]
fn a_directory_replaced_underneath_does_not_split_the_store() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    storage.inspect().unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test plays the meddler; nothing has to be durable"
    )]
    fs::rename(storage.path(), parent.path().join("moved")).unwrap();
    fs::create_dir(storage.path()).unwrap();
    storage.open("file", OpenMode::CreateNew).unwrap();
    assert!(parent.path().join("moved/file").exists());
    assert!(!storage.path().join("file").exists());
}

#[test]
fn a_second_lock_is_refused_naming_the_first_even_through_another_handle() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    let lock = storage.lock("LOCK", "pid 4711 (worker)").unwrap();
    let refusal = DirectoryStorage::new(storage.path())
        .lock("LOCK", "pid 2")
        .unwrap_err();
    assert!(matches!(&refusal, LockRefusal::Held { owner } if owner == "pid 4711 (worker)"));
    assert_eq!(
        refusal.to_string(),
        "the store is in use by pid 4711 (worker)"
    );
    drop(lock);
    storage.lock("LOCK", "pid 2").unwrap();
}

#[test]
fn a_lock_file_that_was_removed_or_replaced_is_noticed() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    let lock = storage.lock("LOCK", "me").unwrap();
    fs::remove_file(storage.path().join("LOCK")).unwrap();
    assert!(!lock.verify().unwrap());
    fs::write(storage.path().join("LOCK"), b"me").unwrap();
    assert!(!lock.verify().unwrap());
}

#[test]
fn a_lock_file_that_was_removed_or_replaced_lets_nobody_else_in() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    let lock = storage.lock("LOCK", "me").unwrap();
    let other = DirectoryStorage::new(storage.path());
    for replacement in [None, Some("pid 1")] {
        fs::remove_file(storage.path().join("LOCK")).unwrap();
        if let Some(text) = replacement {
            fs::write(storage.path().join("LOCK"), text).unwrap();
        }
        let refused = other.lock("LOCK", "pid 2").unwrap_err();
        assert!(matches!(refused, LockRefusal::Held { .. }), "{refused}");
    }
    drop(lock);
    other.lock("LOCK", "pid 2").unwrap();
}

/// One handle on the directory is used for everything else: a lock of it would be shared by whoever locks through it.
#[test]
fn a_lock_through_the_same_handle_neither_joins_nor_ends_the_one_that_is_held() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    let lock = storage.lock("LOCK", "me").unwrap();
    fs::remove_file(storage.path().join("LOCK")).unwrap();
    let other = DirectoryStorage::new(storage.path());
    for storage in [&storage, &other, &storage] {
        let refused = storage.lock("LOCK", "pid 2").unwrap_err();
        assert!(matches!(refused, LockRefusal::Held { .. }), "{refused}");
    }
    drop(lock);
    drop(storage.lock("LOCK", "pid 2").unwrap());
}

#[test]
fn a_map_shows_the_bytes_that_reading_shows() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    for (name, size) in [("empty", 0_usize), ("small", 10), ("large", 100_001)] {
        let file = storage.open(name, OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..size).map(|index| index.to_le_bytes()[0]).collect();
        write_all_at(file.as_ref(), &bytes, 0).unwrap();
        let map = storage
            .open(name, OpenMode::Read)
            .unwrap()
            .map()
            .unwrap()
            .expect("a real file can be mapped");
        assert_eq!(*map, *bytes, "{name}");
    }
}

#[test]
fn a_fresh_directory_does_not_come_into_being_where_no_store_may_live() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("copy");
    let refused = FreshDirectory::check_by(&path, |directory| {
        assert!(directory.path().ends_with("copy.incomplete"));
        Err(StorageRefusal::NetworkFilesystem {
            path: directory.path().to_owned(),
            filesystem: "NFS",
        })
    });
    let Err(FreshError::Refused { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("NFS"));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn a_fresh_directory_says_whether_it_has_its_name() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("copy");
    let fresh = FreshDirectory::check(&path).unwrap();
    let failing = |_: &DirectoryStorage| Err(std::io::Error::other("no sync"));
    let failed = fresh.finish_by(failing);
    assert!(matches!(failed, Err(FreshError::Unsynced { .. })));
    assert!(path.is_dir(), "it has its name");
    fs::remove_dir(&path).unwrap();
    let fresh = FreshDirectory::check(&path).unwrap();
    fs::write(&path, "in the way").unwrap();
    let failed = fresh.finish();
    assert!(matches!(failed, Err(FreshError::Rename { .. })));
    assert!(parent.path().join("copy.incomplete").is_dir(), "as it was");
    assert!(path.is_file());
}

#[test]
fn what_is_written_aside_is_read_back_however_it_lies() {
    let parent = tempfile::tempdir().unwrap();
    let storage = new_store(parent.path());
    let file = storage.open("file", OpenMode::CreateNew).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(3 * 4096 + 7).collect();
    for (size, offset) in [(4096, 0), (3 * 4096 + 7, 4096), (100, 4), (8192, 1 << 20)] {
        let bytes = bytes.get(..size).unwrap();
        write_all_aside(&*file, bytes, offset).unwrap();
        file.sync_data().unwrap();
        let mut read = vec![0; size];
        read_exact_at(&*file, &mut read, offset).unwrap();
        assert_eq!(read, bytes, "{size} bytes at {offset}");
    }
    write_all_at(&*file, b"as before", 5).unwrap();
}

//! A store whose life is known, as it stands on its disk, and as it stood there earlier.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_persistence::lsn::Lsn;
use mq_persistence::segment::{self, DATA_START};
use mq_testing::sim_disk::{SECTOR_SIZE, SimDisk};
use parking_lot::Mutex;

use super::judge::Sight;

/// See the head of this file.
#[derive(Debug)]
pub struct Specimen {
    /// What it is called.
    pub title: String,
    /// The journal before this was synced, and something durable behind it says so, or the store was closed or marked: nothing
    /// of it may be lost without a word, whatever is damaged.
    pub proven: Lsn,
    /// The journal before this was synced.
    pub synced: Lsn,
    /// In its last life no file was made after the segment that it began.
    pub is_lonely: bool,
    disk: SimDisk,
    files: Vec<(String, Vec<u8>)>,
    earlier: Vec<BTreeMap<String, Vec<u8>>>,
    sight: Arc<Sight>,
    /// What must be seen if the journal ended at a place.
    cut_at: Mutex<BTreeMap<Lsn, Arc<Sight>>>,
}

impl Specimen {
    /// Looks at what the last process left on `disk`. `proven` and `synced` are `None` if all that can be read was.
    ///
    /// # Errors
    /// It does not open.
    pub fn new(
        title: String,
        disk: SimDisk,
        earlier: &[SimDisk],
        (proven, synced): (Option<Lsn>, Option<Lsn>),
    ) -> Result<Self, String> {
        let sight = Arc::new(Sight::of(&disk)?);
        let contents = |disk: &SimDisk| {
            let names = disk.file_names().into_iter();
            names
                .filter_map(|name| disk.file_bytes(&name).map(|bytes| (name, bytes)))
                .collect::<BTreeMap<_, _>>()
        };
        Ok(Self {
            title,
            proven: proven.unwrap_or(sight.end),
            synced: synced.unwrap_or(sight.end),
            files: contents(&disk).into_iter().collect(),
            earlier: earlier.iter().map(contents).collect(),
            is_lonely: false,
            disk,
            sight,
            cut_at: Mutex::default(),
        })
    }

    /// A disk of its own with the store on it.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        self.disk.fork()
    }

    /// All files, with their bytes.
    #[must_use]
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// All files at earlier moments, the earliest first.
    #[must_use]
    pub fn earlier(&self) -> &[BTreeMap<String, Vec<u8>>] {
        &self.earlier
    }

    /// The name of a file.
    #[must_use]
    pub fn name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |(name, _)| name)
    }

    /// How many whole sectors a file has.
    #[must_use]
    pub fn sectors_of(&self, file: usize) -> u64 {
        let size = self.files.get(file).map_or(0, |(_, bytes)| bytes.len());
        (size / SECTOR_SIZE) as u64
    }

    /// The bytes of a sector.
    #[must_use]
    pub fn sector(&self, file: usize, sector: u64) -> Option<&[u8]> {
        let (_, bytes) = self.files.get(file)?;
        sector_of(bytes, sector)
    }

    /// The bytes of a sector at an earlier moment.
    #[must_use]
    pub fn earlier_sector(&self, moment: usize, file: usize, sector: u64) -> Option<Vec<u8>> {
        let bytes = self.earlier.get(moment)?.get(self.name(file))?;
        sector_of(bytes, sector).map(<[u8]>::to_vec)
    }

    /// The bytes of a file at an earlier moment.
    #[must_use]
    pub fn earlier_file(&self, moment: usize, file: usize) -> Option<Vec<u8>> {
        self.earlier.get(moment)?.get(self.name(file)).cloned()
    }

    /// What is seen without damage.
    #[must_use]
    pub(super) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What is seen if nothing from `end` on was ever written.
    pub(super) fn sight_if_cut(&self, end: Lsn) -> Result<Arc<Sight>, String> {
        if let Some(known) = self.cut_at.lock().get(&end) {
            return Ok(Arc::clone(known));
        }
        let disk = self.copy();
        for (name, bytes) in &self.files {
            let from = match segment::number_of(name) {
                Some(number) if number == end.segment() => end.offset(),
                Some(number) if number > end.segment() => DATA_START,
                Some(_) | None => continue,
            };
            let zeros = bytes.len().saturating_sub(from as usize);
            let cleared = disk.overwrite(name, from.into(), &vec![0; zeros]);
            cleared.map_err(|error| error.to_string())?;
        }
        let sight = Sight::of(&disk).map(Arc::new);
        let sight = sight.map_err(|error| format!("cut at {end}, it does not open: {error}"))?;
        self.cut_at.lock().insert(end, Arc::clone(&sight));
        Ok(sight)
    }
}

fn sector_of(bytes: &[u8], sector: u64) -> Option<&[u8]> {
    let start = usize::try_from(sector).ok()?.checked_mul(SECTOR_SIZE)?;
    bytes.get(start..start + SECTOR_SIZE)
}

//! How a life of the simulated process ends, and the next one begins: crash, kill, restart, and the troubles of an explored
//! scenario.

use std::time::Duration;

use super::{Harness, fail};
use crate::sim_disk::{CrashMode, SimDisk};

/// How long running handlers get in [`Harness::restart`].
const GRACE: Duration = Duration::from_secs(25);

impl Harness {
    /// The power is cut at this point, and the process starts again with the same handlers. Of what was not synced, each
    /// sector is old, new or torn, as the seed decides; handlers that were running stop where they are.
    pub async fn crash(self) -> Self {
        let mode = self.crash_mode();
        self.crash_with(mode).await
    }

    /// As [`Harness::crash`], with a choice of what becomes of what was not synced.
    pub async fn crash_with(self, mode: CrashMode) -> Self {
        self.world.tell(format_args!("the power is cut: {mode:?}"));
        self.live_again(|disk| disk.power_cycle(mode)).await;
        self
    }

    /// The process is killed, as by `kill -9`, and starts again with the same handlers. What was written is still there,
    /// synced or not; handlers that were running stop where they are.
    pub async fn kill(self) -> Self {
        self.world.tell("the process is killed");
        self.live_again(SimDisk::restart_process).await;
        self
    }

    /// The process stops in order, as in a deployment, and starts again with the same handlers.
    pub async fn restart(self) -> Self {
        self.world.tell("the process is restarted");
        let process = self.process();
        if let Err(text) = process.stop(GRACE).await {
            fail(&text);
        }
        drop(process);
        self.live_again(SimDisk::restart_process).await;
        self
    }

    /// Starts the next life if this one ended in trouble; whether it did.
    pub(super) async fn rise_again(&self) -> bool {
        let process = self.process();
        if process.disk.has_crashed() {
            self.world.plan.power_was_cut();
            let mode = self.crash_mode();
            self.world.tell(format_args!("the power is cut: {mode:?}"));
            drop(process);
            self.live_again(|disk| disk.power_cycle(mode)).await;
            true
        } else if process.lifeline.is_cut() {
            drop(process);
            if self.world.random().is_multiple_of(2) {
                self.world.tell("the process is killed");
                self.live_again(SimDisk::restart_process).await;
            } else {
                let mode = self.crash_mode();
                self.world.tell(format_args!("the power is cut: {mode:?}"));
                self.live_again(|disk| disk.power_cycle(mode)).await;
            }
            true
        } else {
            false
        }
    }

    /// Lets no more operations on the disk happen than the plan says; answers how many there were before.
    pub(super) fn arm(&self) -> u64 {
        let disk = self.disk();
        let count = disk.io_count();
        if let Some(left) = self.world.plan.disk_left() {
            disk.crash_after(count.saturating_add(left));
        }
        count
    }

    /// Ends what [`Harness::arm`] began.
    pub(super) fn disarm(&self, before: u64) {
        let disk = self.disk();
        if self.world.plan.disk_left().is_some() && !disk.has_crashed() {
            disk.crash_after(u64::MAX);
        }
        self.world
            .plan
            .disk_passed(disk.io_count().saturating_sub(before));
    }

    fn crash_mode(&self) -> CrashMode {
        let seed = self.world.random();
        match seed % 6 {
            0 => CrashMode::LoseAll,
            1 => CrashMode::KeepAll,
            2 => CrashMode::Prefix(seed),
            3 => CrashMode::Subset(seed),
            4 => CrashMode::Page4k(seed),
            _ => CrashMode::MissingOne(seed),
        }
    }

    async fn live_again(&self, next_disk: impl FnOnce(&SimDisk) -> SimDisk) {
        let process = self.process();
        process.lifeline.cut();
        *self.disk.lock() = next_disk(&process.disk);
        self.world.idle.quiesce().await; // handlers are dropped where they stand
        process.die();
        drop(self.process.lock().take());
        drop(process);
        self.record.lock().forget_running();
        drop(self.process());
    }
}

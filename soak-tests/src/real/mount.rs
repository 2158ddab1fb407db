//! Mounts that are gone when their guard is, whatever happened meanwhile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{Problem, need};

/// Runs a program to its end.
///
/// # Errors
/// It is not there, or did not succeed; with what it said.
pub(super) fn run<I: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = I>,
) -> anyhow::Result<()> {
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.with_context(|| format!("cannot run {program}"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        bail!("{program}: {}: {}", ran.status, said.trim());
    }
    Ok(())
}

/// A mounted file system.
#[derive(Debug)]
pub(super) struct Mount {
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts the file system in an image.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(super) fn image(image: &Path, point: &Path) -> anyhow::Result<Self> {
        let arguments = [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()];
        Self::of(&arguments, point)
    }

    /// Mounts a file system in memory of this size.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(super) fn memory(size: &str, point: &Path) -> anyhow::Result<Self> {
        let options = format!("size={size}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"].map(OsStr::new);
        Self::of(&arguments, point)
    }

    fn of(arguments: &[&OsStr], point: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(point).context("cannot make a mount point")?;
        let point = point.to_owned();
        run(
            "mount",
            arguments.iter().copied().chain([point.as_os_str()]),
        )?;
        Ok(Self {
            point,
            mounted: true,
        })
    }

    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Another size, for one in memory.
    ///
    /// # Errors
    /// It was refused.
    pub(super) fn resize(&self, size: &str) -> anyhow::Result<()> {
        let options = format!("remount,size={size}");
        run(
            "mount",
            [
                OsStr::new("-o"),
                OsStr::new(&options),
                self.point.as_os_str(),
            ],
        )
    }

    /// Cuts the power as far as the file system is concerned: from now on nothing reaches the device, and what was not
    /// flushed, also of its own journal, is gone. The same request for ext4 and xfs: `FS_IOC_GOINGDOWN` without a flush of
    /// the log.
    ///
    /// # Errors
    /// The file system cannot do that.
    pub(super) fn cut_power(&self) -> anyhow::Result<()> {
        const REQUEST: &str = "open(my $f, '<', $ARGV[0]) or die $!; my $flag = pack('I', 2); \
                               ioctl($f, 0x8004587d, $flag) or die \"ioctl: $!\"";
        run(
            "perl",
            [
                OsStr::new("-e"),
                OsStr::new(REQUEST),
                self.point.as_os_str(),
            ],
        )
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// Somebody still uses it.
    pub(super) fn unmount(mut self) -> anyhow::Result<()> {
        run("umount", [self.point.as_os_str()])?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        let now = run("umount", [self.point.as_os_str()]);
        let later = || run("umount", [OsStr::new("-l"), self.point.as_os_str()]);
        if let Err(error) = now.or_else(|_| later()) {
            eprintln!("{} is still mounted: {error:#}", self.point.display());
        }
    }
}

/// Skips unless images can be mounted here, with file systems of this kind.
pub(super) fn need_loop(kind: &str) -> Result<(), Problem> {
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::Skipped("only root may mount".to_owned()));
    }
    need(&["mount", "umount", "perl", &format!("mkfs.{kind}")])?;
    if !Path::new("/dev/loop-control").exists() {
        return Err(Problem::Skipped(
            "there are no loop devices here".to_owned(),
        ));
    }
    Ok(())
}

/// Makes an image with an empty file system in it.
///
/// # Errors
/// It cannot be made.
pub(super) fn make(kind: &str, image: &Path, mebibytes: u64) -> anyhow::Result<()> {
    let file = std::fs::File::create(image).context("cannot make an image")?;
    file.set_len(mebibytes << 20)
        .context("cannot size an image")?;
    let quiet: &[&str] = if kind == "xfs" {
        &["-q", "-f"]
    } else {
        &["-q", "-F", "-J", "size=4", "-m", "0"]
    };
    let quiet = quiet.iter().map(OsStr::new);
    run(&format!("mkfs.{kind}"), quiet.chain([image.as_os_str()]))
}

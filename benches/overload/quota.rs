//! A share of one core for a process and its threads, by a control group of the kernel's.

use std::fs;
use std::path::{Path, PathBuf};

/// Short, so that being out of turn does not look like an answer that took long.
const PERIOD_US: u64 = 10_000;
/// The least that the kernel takes for a quota.
const QUOTA_US_MIN: u64 = 1_000;
/// It gets its share also where others want the core, in the terms of version 2 and 1: a hundred times the usual.
const WEIGHTS: (&str, &str) = ("10000", "102400");

/// A group with a quota; removed on drop, when the process has ended.
pub struct Quota(PathBuf);

impl Quota {
    /// Keeps process `pid` to `percent` of one core; 100 and more are no limit.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub fn set(pid: i32, percent: u64) -> Result<Self, String> {
        let period = PERIOD_US.max(QUOTA_US_MIN * 100 / percent);
        let is_limited = percent < 100;
        let quota = period * percent / 100;
        let name = format!("hyperdesk-overload-{pid}");
        let v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        let has_cpu = |root: &&PathBuf| {
            fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|names| names.contains("cpu"))
        };
        let group = if let Some(root) = v2.iter().find(has_cpu) {
            let _as_it_is = fs::write(root.join("cgroup.subtree_control"), "+cpu");
            let group = root.join(name);
            create(&group)?;
            write(
                &group.join("cpu.max"),
                &if is_limited { format!("{quota} {period}") } else { "max".to_owned() },
            )?;
            write(&group.join("cpu.weight"), WEIGHTS.0)?;
            group
        } else {
            let roots = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"].map(PathBuf::from);
            let Some(root) = roots.iter().find(|root| root.join("cpu.cfs_quota_us").exists()) else {
                return Err("there is no cpu control group, of version 1 or 2".to_owned());
            };
            let group = root.join(name);
            create(&group)?;
            write(&group.join("cpu.cfs_period_us"), &period.to_string())?;
            let quota = if is_limited { quota.to_string() } else { "-1".to_owned() };
            write(&group.join("cpu.cfs_quota_us"), &quota)?;
            write(&group.join("cpu.shares"), WEIGHTS.1)?;
            group
        };
        write(&group.join("cgroup.procs"), &pid.to_string())?;
        Ok(Self(group))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _in_use = fs::remove_dir(&self.0);
    }
}

fn create(group: &Path) -> Result<(), String> {
    fs::create_dir_all(group).map_err(|error| format!("{}: {error} (it takes root)", group.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error} (it takes root)", file.display()))
}

//! Emulation of the platform that this machine is not, by QEMU through the kernel's binfmt_misc.

use std::fs;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::{Shell, cmd};

use crate::{
    model::{platform::Platform, problem::Problem},
    tools::process::Program,
};

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Whether programs of `platform` run here, natively or because the kernel knows an interpreter for them.
pub fn runs(platform: Platform) -> bool {
    platform == Platform::host()
        || fs::read_to_string(entry(platform)).is_ok_and(|text| serves_containers(&text))
}

/// Registers QEMU for `platform` with the kernel.
pub fn register(platform: Platform) -> Result<()> {
    if !fs::exists(Utf8Path::new(BINFMT).join("register")).unwrap_or(false) {
        let shell = Shell::new()?;
        Program::from(cmd!(shell, "mount -t binfmt_misc binfmt_misc {BINFMT}")).output()?;
    }
    let path = description(platform);
    let line = fs::read_to_string(&path)
        .map_err(|error| failed(platform, format!("read {path}: {error}")))?;
    // One that is there but switched off, or opens its interpreter too late for containers, is replaced.
    if entry(platform).exists() {
        let _ = fs::write(entry(platform), "-1");
    }
    let register = format!("{BINFMT}/register");
    fs::write(&register, line.trim_end()).map_err(|error| {
        failed(
            platform,
            format!("write {path}'s line into {register}: {error}"),
        )
    })?;
    if runs(platform) {
        Ok(())
    } else {
        Err(failed(
            platform,
            format!("the kernel did not take the line of {path}"),
        ))
    }
}

/// The file in which Debian's package of QEMU describes the interpreter for `platform` (`binfmt.d(5)`).
pub fn description(platform: Platform) -> String {
    format!("/usr/lib/binfmt.d/qemu-{}.conf", platform.machine())
}

fn entry(platform: Platform) -> Utf8PathBuf {
    Utf8Path::new(BINFMT).join(format!("qemu-{}", platform.machine()))
}

/// Enabled, and with the flag F: the interpreter is opened at registration, since no container holds its file.
fn serves_containers(entry: &str) -> bool {
    let flags = entry.lines().find_map(|line| line.strip_prefix("flags:"));
    entry.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
}

fn failed(platform: Platform, message: String) -> anyhow::Error {
    Problem::environment(message)
        .help(format!("this kernel or container does not allow registering an emulator; --platform host builds without {platform}"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_entry_with_an_open_interpreter_serves() {
        for (text, expected) in [
            (
                "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n",
                true,
            ),
            ("disabled\ninterpreter /x\nflags: POF\n", false),
            ("enabled\ninterpreter /x\nflags: P\n", false),
            ("enabled\ninterpreter /Fedora\nflags: \n", false),
            ("", false),
        ] {
            assert_eq!(serves_containers(text), expected, "{text}");
        }
    }
}

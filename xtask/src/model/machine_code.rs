//! What a file's first bytes say of the machine it runs on.

use super::platform::Platform;

/// How many bytes from a file's start are enough for [`MachineCode::of`].
pub const HEADER: usize = 1024;

/// A file that holds machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineCode {
    /// Programs, shared libraries and object files of Linux, with `e_machine` of their header.
    Elf { machine: u16 },
    /// macOS, one architecture or several.
    MachO,
    /// Windows.
    Pe,
    /// A static library (`ar`).
    Archive,
}

impl MachineCode {
    /// Reads the first bytes of a file; None when it holds no machine code.
    ///
    /// Sources: System V ABI, "ELF Header"; Apple's mach-o/loader.h and fat.h; Microsoft's PE format.
    pub fn of(header: &[u8]) -> Option<MachineCode> {
        match *header {
            [0x7f, b'E', b'L', b'F', _, order, ..] => {
                let machine = [*header.get(18)?, *header.get(19)?];
                let big = order == 2;
                let machine = if big {
                    u16::from_be_bytes(machine)
                } else {
                    u16::from_le_bytes(machine)
                };
                Some(MachineCode::Elf { machine })
            }
            [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => {
                Some(MachineCode::MachO)
            }
            // Java classes share the magic number; their version in the same place is 45 and more.
            [0xca, 0xfe, 0xba, 0xbe, a, b, c, d, ..] if u32::from_be_bytes([a, b, c, d]) < 45 => {
                Some(MachineCode::MachO)
            }
            [b'M', b'Z', ..] => {
                let at = u32::from_le_bytes(header.get(0x3c..0x40)?.try_into().ok()?);
                let at = usize::try_from(at).ok()?;
                (header.get(at..)?.starts_with(b"PE\0\0")).then_some(MachineCode::Pe)
            }
            _ => header
                .starts_with(b"!<arch>\n")
                .then_some(MachineCode::Archive),
        }
    }

    /// Why this file has no place in an image of `platform`; None when it may be there. Files of other operating
    /// systems are data to Linux (installers ship launchers for Windows), so only ELF files are judged.
    pub fn stray_on(self, platform: Platform) -> Option<String> {
        match self {
            MachineCode::Elf { machine } if machine != e_machine(platform) => {
                Some(machine_name(machine))
            }
            _ => None,
        }
    }
}

/// `e_machine` of programs for `platform` (System V ABI, "Machine architecture").
pub fn e_machine(platform: Platform) -> u16 {
    match platform {
        Platform::LinuxAmd64 => 62,
        Platform::LinuxArm64 => 183,
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86".to_owned(),
        40 => "arm".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        other => format!("machine type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, order];
        header.resize(18, 0);
        header.extend(machine);
        header
    }

    fn pe() -> Vec<u8> {
        let mut header = b"MZ".to_vec();
        header.resize(0x3c, 0);
        header.extend(0x80_u32.to_le_bytes());
        header.resize(0x80, 0);
        header.extend(b"PE\0\0");
        header
    }

    #[test]
    fn machine_code_is_known_by_its_first_bytes() {
        use MachineCode::{Archive, Elf, MachO, Pe};
        let mut unfinished = elf(1, [62, 0]);
        unfinished.truncate(18);
        for (header, expected) in [
            (elf(1, [62, 0]), Some(Elf { machine: 62 })),
            (elf(1, [183, 0]), Some(Elf { machine: 183 })),
            (elf(2, [0, 22]), Some(Elf { machine: 22 })),
            (unfinished, None),
            (vec![0xcf, 0xfa, 0xed, 0xfe, 7], Some(MachO)),
            (vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2], Some(MachO)),
            (vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52], None),
            (pe(), Some(Pe)),
            (b"MZ is how this text starts".to_vec(), None),
            (b"!<arch>\n".to_vec(), Some(Archive)),
            (b"#!/bin/sh\n".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(MachineCode::of(&header), expected, "{header:?}");
        }
    }

    #[test]
    fn only_elf_of_another_machine_is_stray() {
        use Platform::{LinuxAmd64, LinuxArm64};
        for (code, platform, expected) in [
            (MachineCode::Elf { machine: 62 }, LinuxAmd64, None),
            (MachineCode::Elf { machine: 62 }, LinuxArm64, Some("x86_64")),
            (MachineCode::Elf { machine: 183 }, LinuxArm64, None),
            (
                MachineCode::Elf { machine: 183 },
                LinuxAmd64,
                Some("aarch64"),
            ),
            (MachineCode::Elf { machine: 3 }, LinuxAmd64, Some("x86")),
            (
                MachineCode::Elf { machine: 243 },
                LinuxAmd64,
                Some("machine type 243"),
            ),
            (MachineCode::Pe, LinuxArm64, None),
        ] {
            assert_eq!(
                code.stray_on(platform).as_deref(),
                expected,
                "{code:?} {platform}"
            );
        }
    }
}

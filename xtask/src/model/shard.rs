//! One part of a fleet, for machines that share the work.

use std::str::FromStr;

/// The first number is this part's, from 1; the second how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}

impl Shard {
    /// Whether a connector belongs to this part. Only its name decides, so that a connector that comes or goes
    /// moves no other one.
    pub fn holds(self, name: &str) -> bool {
        fnv1a(name.as_bytes()) % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some((index.parse::<u64>().ok()?, count.parse::<u64>().ok()?))
        });
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Shard { index, count }),
            _ => Err(format!(
                "`{text}` is not a part such as 2/5, the second of five"
            )),
        }
    }
}

/// FNV-1a with 64 bits: the same for ever and on every machine, which the standard library's hashes do not promise.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_hold_everything() {
        for count in [1, 2, 3, 7] {
            let parts: Vec<Shard> = (1..=count)
                .map(|index| format!("{index}/{count}").parse().unwrap())
                .collect();
            for name in ["source-faker", "source-pokeapi", "destination-jsonl", ""] {
                assert_eq!(parts.iter().filter(|part| part.holds(name)).count(), 1);
            }
        }
    }

    #[test]
    fn a_name_stays_in_its_part_for_ever() {
        // The published test vector of FNV-1a, 64 bits.
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_part_is_two_numbers_in_order() {
        for bad in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}

//! The phases of a run of ours, from the events that its record holds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::figures::Phase;

/// What each step took, in the order the steps first began. Where steps of several connectors are under way at a time,
/// they share it, so that the phases add up to the time in which anything was. `text` has one event a line.
pub fn phases(text: &str) -> Vec<Phase> {
    let mut began: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut steps: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for event in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let word = |key: &str| event[key].as_str().map(str::to_owned);
        let (Some(connector), Some(step), Some(time)) =
            (word("connector"), word("step"), event["time"].as_f64())
        else {
            continue;
        };
        let key = (connector, step.clone());
        match event["state"].as_str() {
            Some("started") => {
                if steps.iter().all(|(known, _)| *known != step) {
                    steps.push((step, Vec::new()));
                }
                began.insert(key, time / 1000.0);
            }
            Some("done" | "failed") => {
                let spans = steps.iter_mut().find(|(known, _)| *known == step);
                if let (Some(start), Some((_, spans))) = (began.remove(&key), spans) {
                    spans.push((start, time / 1000.0));
                }
            }
            _ => {}
        }
    }
    let (names, spans): (Vec<String>, Vec<_>) = steps.into_iter().unzip();
    let values = shares(&spans);
    let phases = names.into_iter().zip(values);
    phases.map(|(name, value)| Phase { name, value }).collect()
}

/// The part of each step in the time that its spans cover.
fn shares(steps: &[Vec<(f64, f64)>]) -> Vec<f64> {
    let mut changes: Vec<(f64, usize, f64)> = Vec::new();
    for (step, spans) in steps.iter().enumerate() {
        for (from, to) in spans {
            changes.extend([(*from, step, 1.0), (*to, step, -1.0)]);
        }
    }
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut shares, mut under_way) = (vec![0.0; steps.len()], vec![0.0; steps.len()]);
    let mut last = 0.0;
    for (time, step, by) in changes {
        let all: f64 = under_way.iter().sum();
        if all > 0.0 {
            let each = (time - last) / all;
            let shares = shares.iter_mut().zip(&under_way);
            shares.for_each(|(share, count)| *share += each * count);
        }
        under_way[step] += by;
        last = time;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_several_connectors_share_the_time_in_which_they_overlap() {
        let event = |time: u32, connector: &str, step: &str, state: &str| {
            format!(
                r#"{{"time":{time},"connector":"{connector}","step":"{step}","state":"{state}"}}"#
            )
        };
        let events = [
            event(0, "source-a", "", "planned"),
            event(1000, "source-a", "build", "started"),
            event(2000, "source-b", "build", "started"),
            event(4000, "source-a", "build", "done"),
            event(4000, "source-a", "push", "started"),
            event(5000, "source-b", "build", "done"),
            event(4500, "source-a", "push", "failed"),
            event(9000, "source-b", "scan", "skipped"),
            event(9000, "source-b", "build", "started"),
            event(9500, "source-b", "build", "done"),
            r#"{"time":9600,"conn"#.to_owned(),
        ];
        let seen: Vec<(String, f64)> = phases(&events.join("\n"))
            .into_iter()
            .map(|phase| (phase.name, phase.value))
            .collect();
        assert_eq!(
            seen,
            [("build".to_owned(), 4.25), ("push".to_owned(), 0.25)]
        );
    }
}

//! The parsers of what git prints and of metadata.yaml, on generated input: right input comes out as it went in,
//! damaged input is an error or a value in which nothing is impossible, and nothing ever panics.

use super::{
    change::{Change, ChangeKind, RepoPath, parse_list, parse_name_status, parse_status},
    metadata::Metadata,
    random::Random,
    yaml::{Document, Node, Value},
};

/// Each is tried with several edits.
const DAMAGED: u64 = 4_000;

fn path(random: &mut Random) -> Vec<u8> {
    const PARTS: [&[u8]; 10] = [
        b"airbyte-integrations",
        b"connectors",
        b"source-a",
        b"metadata.yaml",
        b"a b",
        b" ",
        b"new\nline",
        b"q\"\\t\t",
        b"\xff\xfe",
        b"-> R100",
    ];
    let parts: Vec<&[u8]> = (0..1 + random.below(5))
        .map(|_| random.pick(&PARTS))
        .collect();
    parts.join(&b'/')
}

/// The letter git gives a change, and the changes that it means for its path or its two paths.
fn named(random: &mut Random) -> (&'static str, Vec<Change>) {
    use ChangeKind::{Added, Deleted, Modified};
    let (letter, kinds) = [
        ("A", &[Added][..]),
        ("M", &[Modified]),
        ("D", &[Deleted]),
        ("R", &[Deleted, Added]),
    ][random.below(4)];
    let change = |kind: &ChangeKind| Change {
        path: RepoPath::new(&path(random)).unwrap(),
        kind: *kind,
    };
    (letter, kinds.iter().map(change).collect())
}

/// What `git diff --name-status -z` prints of changes.
fn name_status(all: &[(&str, Vec<Change>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (letter, changes) in all {
        let score = if *letter == "R" { "087" } else { "" };
        bytes.extend(format!("{letter}{score}\0").bytes());
        for change in changes {
            bytes.extend(change.path.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

/// What `git status --porcelain=v2 -z` prints of changes.
fn status(all: &[(&str, Vec<Change>)]) -> Vec<u8> {
    const MODES: &str = "N... 100644 100644 100644";
    let hashes = format!("{0} {0}", "a".repeat(40));
    let mut bytes = b"# branch.oid abc\0".to_vec();
    for (letter, changes) in all {
        match changes.as_slice() {
            [from, to] => {
                bytes.extend(format!("2 R. {MODES} {hashes} R087 ").bytes());
                bytes.extend([to.path.as_bytes(), b"\0", from.path.as_bytes()].concat());
            }
            changes => {
                bytes.extend(format!("1 .{letter} {MODES} {hashes} ").bytes());
                changes
                    .iter()
                    .for_each(|change| bytes.extend(change.path.as_bytes()));
            }
        }
        bytes.push(0);
    }
    bytes
}

type Parser = fn(&[u8]) -> Result<Vec<Change>, String>;
type Writer = fn(&[(&str, Vec<Change>)]) -> Vec<u8>;

const OF_GIT: [(Parser, Writer); 2] = [(parse_name_status, name_status), (parse_status, status)];

#[test]
fn what_git_prints_comes_out_whole_and_a_part_of_it_never_as_the_whole() {
    for seed in 0..300 {
        let random = &mut Random(seed);
        let all: Vec<_> = (0..random.below(6)).map(|_| named(random)).collect();
        let expected: Vec<Change> = all
            .iter()
            .flat_map(|(_, changes)| changes.clone())
            .collect();
        for (parse, print) in OF_GIT {
            let printed = print(&all);
            assert_eq!(parse(&printed).unwrap(), expected, "seed {seed}");
            for cut in 0..printed.len() {
                if let Ok(part) = parse(&printed[..cut]) {
                    assert!(expected.starts_with(&part), "seed {seed}, cut at {cut}");
                    assert!(
                        cut == 0 || printed[cut - 1] == 0,
                        "seed {seed}: a record cut at {cut} was taken"
                    );
                }
            }
        }
    }
}

#[test]
fn damaged_output_of_git_is_an_error_or_holds_paths_only() {
    let possible = |path: &RepoPath| RepoPath::new(path.as_bytes()).as_ref() == Some(path);
    for seed in 0..DAMAGED {
        let random = &mut Random(seed);
        let all: Vec<_> = (0..1 + random.below(4)).map(|_| named(random)).collect();
        for (parse, print) in OF_GIT {
            let mut printed = print(&all);
            for _ in 0..1 + random.below(4) {
                random.damage(&mut printed);
            }
            if let Ok(changes) = parse(&printed) {
                assert!(
                    changes.iter().all(|change| possible(&change.path)),
                    "seed {seed}"
                );
            }
            if let Ok(paths) = parse_list(&printed) {
                assert!(paths.iter().all(possible), "seed {seed}");
            }
        }
    }
}

/// Constructs of YAML that real metadata has, and some that it should not.
const METADATA: &str = r#"# comment
metadataSpecVersion: "1.0"
data: &all
  connectorBuildOptions:
    baseImage: docker.io/airbyte/base:1.0.0@sha256:c44839ba84406116e8ba68722a0f30e8f6e7056c726f447681bb9e9ece8bd916
  connectorType: source
  definitionId: dfd88b22-b603-4c3d-aad7-3701784586b1
  dockerImageTag: 1.2.3-rc.1  # trailing
  dockerRepository: airbyte/source-a
  documentationUrl: https://docs.airbyte.com/integrations/sources/a
  license: 'MIT'
  name: "A \u00e9"
  releaseDate: 2024-01-31
  releases:
    breakingChanges:
      1.0.0:
        message: >-
          folded
          text
        upgradeDeadline: "2024-05-01"
  supportLevel: community
  tags: [language:python, "cdk:python"]
  twice: *all
"#;

#[test]
fn damaged_metadata_is_read_or_refused_with_a_place() {
    let mut read = 0;
    for seed in 0..DAMAGED {
        let random = &mut Random(seed);
        let mut bytes = METADATA.as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            random.damage(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let last = text.lines().count() + 1;
        match Document::read(&text) {
            Ok(document) => {
                read += 1;
                places_are_within(&document.root, last, seed);
            }
            Err(flaw) => {
                let line = flaw.at.map_or(1, |at| at.line);
                assert!((1..=last).contains(&line), "seed {seed}: {flaw:?}");
            }
        }
        match Metadata::parse(&text) {
            Ok(metadata) => assert!(!metadata.docker_repository.is_empty(), "seed {seed}"),
            Err(flaws) => assert!(!flaws.is_empty(), "seed {seed}"),
        }
    }
    assert!(
        (DAMAGED / 10..DAMAGED).contains(&read),
        "{read} of {DAMAGED} were read: the damage is too heavy or too light"
    );
}

fn places_are_within(node: &Node, last: usize, seed: u64) {
    assert!(
        (1..=last).contains(&node.at.line),
        "seed {seed}: {:?}",
        node.at
    );
    match &node.value {
        Value::Mapping(entries) => entries
            .iter()
            .for_each(|entry| places_are_within(&entry.value, last, seed)),
        Value::Sequence(items) => items
            .iter()
            .for_each(|item| places_are_within(item, last, seed)),
        Value::Scalar(_) => {}
    }
}

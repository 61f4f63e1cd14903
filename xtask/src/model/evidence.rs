//! Which files of a layer a cataloguer need not be shown again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::layer::is_whiteout;

/// Whether a file is code that no cataloguer reads: in images packages are known by what installers leave beside it.
/// A build script can declare one, and is kept.
pub fn is_code(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    name != "setup.py" && matches!(ending, Some("py" | "pyc" | "pyi"))
}

/// Whether a file is named as compiled modules of Python packages are (PEP 3149; `.abi3`), and as no program that cataloguers
/// know by its name (syft's binary classifiers: `python*`, `lib*`, `php*`).
pub fn is_extension_module(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let known = ["python", "lib", "php"];
    name.ends_with(".so")
        && (name.contains(".cpython-") || name.contains(".abi3."))
        && !known.iter().any(|known| name.starts_with(known))
}

/// Whether a program says what it is made of, in one of the forms that cataloguers read whatever it is called: cargo
/// auditable's section, Go's build information, and the ELF note for packages that systemd and Fedora define.
pub fn is_marked(program: &[u8]) -> bool {
    const MARKS: [&[u8]; 3] = [b".dep-v0", b"\xff Go buildinf:", b".note.package"];
    let marked = |mark: &[u8]| memchr::memmem::find(program, mark).is_some();
    MARKS.into_iter().any(marked)
}

/// A layer's files, without a leading slash; directories are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerFiles {
    pub programs: BTreeSet<String>,
    /// Everything else, whiteouts too, and what was left out of the layer before.
    pub others: BTreeSet<String>,
}

impl LayerFiles {
    /// Whether the layer has a file at this path, without a leading slash; one that is not shown any more counts.
    pub fn holds(&self, path: &str) -> bool {
        self.programs.contains(path) || self.others.contains(path)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().chain(&self.others).map(String::as_str)
    }
}

/// Which consecutive layers, from the lowest, can be shown as one: none of them replaces or removes what is in another.
/// One whose files are not known (None) stands alone.
pub fn mergeable(layers: &[Option<LayerFiles>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::new());
    let mut open = false;
    for (index, layer) in layers.iter().enumerate() {
        let replaces = |path: &str| {
            files.contains(path)
                || directories.contains(path)
                || above(path).any(|directory| files.contains(directory))
        };
        let fits =
            |layer: &LayerFiles| !layer.all().any(|path| is_whiteout(path) || replaces(path));
        let fits = layer.as_ref().is_some_and(fits);
        match runs.last_mut() {
            Some(run) if open && fits => run.end = index + 1,
            _ => {
                runs.push(index..index + 1);
                files.clear();
                directories.clear();
            }
        }
        let joins = |layer: &&LayerFiles| !layer.all().any(is_whiteout);
        let layer = layer.as_ref().filter(joins);
        open = layer.is_some();
        for path in layer.into_iter().flat_map(LayerFiles::all) {
            files.insert(path);
            directories.extend(above(path));
        }
    }
    runs
}

/// The directories that a path is in, from the outermost.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// The programs of each layer that a cataloguer saw and learned nothing from. `named` are the files that it named, in
/// an image of these layers. What another layer hides, or hides itself, may not have been seen (OCI image
/// specification 1.1, "Image Layer"), so it is not among them.
pub fn fruitless(layers: &[LayerFiles], named: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for path in layers.iter().flat_map(LayerFiles::all) {
        *holders.entry(path).or_default() += 1;
    }
    let seen = |path: &str| holders.get(path) == Some(&1) && !is_hidden(path, &holders);
    let of_layer = |layer: &LayerFiles| {
        let programs = layer.programs.iter();
        let fruitless = programs.filter(|path| !named.contains(*path) && seen(path));
        fruitless.cloned().collect()
    };
    layers.iter().map(of_layer).collect()
}

/// Whether a file stands where a directory above `path` is, or a whiteout removes one of them or `path`.
fn is_hidden(path: &str, files: &BTreeMap<&str, usize>) -> bool {
    let whiteout = |path: &str| match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/.wh.{name}"),
        None => format!(".wh.{path}"),
    };
    files.contains_key(whiteout(path).as_str())
        || above(path).any(|directory| {
            files.contains_key(directory)
                || files.contains_key(whiteout(directory).as_str())
                || files.contains_key(format!("{directory}/.wh..wh..opq").as_str())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_by_its_name() {
        for (path, expected) in [
            ("usr/lib/a.py", true),
            ("usr/lib/__pycache__/a.cpython-311.pyc", true),
            ("a.pyi", true),
            ("setup.py", false),
            ("a/setup.py", false),
            ("py", false),
            ("a.dist-info/METADATA", false),
            ("a.py/b", false),
            ("a.pyd", false),
        ] {
            assert_eq!(is_code(path), expected, "{path}");
        }
    }

    #[test]
    fn extension_modules_are_told_by_name_and_mark() {
        for (path, expected) in [
            ("a/_rust.abi3.so", true),
            ("a/x.cpython-311-aarch64-linux-gnu.so", true),
            ("a/libx.cpython-311-x86_64-linux-gnu.so", false),
            ("a/python_x.abi3.so", false),
            ("a.libs/libssl.so.3", false),
            ("a/x.so", false),
            ("x.cpython-311.pyc", false),
        ] {
            assert_eq!(is_extension_module(path), expected, "{path}");
        }
        assert!(is_marked(b"\x7fELF...\0.shstrtab\0.dep-v0\0"));
        assert!(is_marked(b"\x7fELF\xff Go buildinf:\x08"));
        assert!(!is_marked(b"\x7fELF...\0.shstrtab\0.text\0"));
    }

    fn layer(programs: &[&str], others: &[&str]) -> LayerFiles {
        let set = |all: &[&str]| all.iter().map(|path| (*path).to_owned()).collect();
        LayerFiles {
            programs: set(programs),
            others: set(others),
        }
    }

    #[test]
    fn what_was_seen_and_not_named_was_of_no_use() {
        let named = BTreeSet::from(["usr/bin/python3".to_owned()]);
        let programs = ["usr/bin/python3", "usr/lib/a.so"];
        for (other, expected) in [
            (layer(&[], &["usr/lib/b"]), Some("usr/lib/a.so")),
            // Another layer has the same file, or one where a directory of it is.
            (layer(&["usr/lib/a.so"], &[]), None),
            (layer(&[], &["usr/lib/a.so"]), None),
            (layer(&[], &["usr/lib"]), None),
            // Another layer removes it.
            (layer(&[], &["usr/lib/.wh.a.so"]), None),
            (layer(&[], &["usr/.wh.lib"]), None),
            (layer(&[], &[".wh.usr"]), None),
            (layer(&[], &["usr/lib/.wh..wh..opq"]), None),
            (layer(&[], &["usr/bin/.wh..wh..opq"]), Some("usr/lib/a.so")),
        ] {
            let found = fruitless(&[layer(&programs, &[]), other.clone()], &named);
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(found[0], expected, "{other:?}");
        }
    }

    #[test]
    fn layers_are_shown_as_one_where_none_replaces_what_another_holds() {
        let base = || Some(layer(&["usr/bin/python3"], &["etc/os-release", "lib"]));
        let package = |name: &str| Some(layer(&[], &[&format!("usr/{name}/METADATA")]));
        let other = |path: &str| Some(layer(&[], &[path]));
        // How many layers are in each archive.
        for (layers, expected) in [
            (vec![base(), package("a"), package("b")], vec![3]),
            (vec![None, package("a"), package("b")], vec![1, 2]),
            (
                vec![package("a"), None, package("b"), package("c")],
                vec![1, 1, 2],
            ),
            // The same file; one where a directory is, and a directory where one is.
            (vec![package("a"), package("b"), package("a")], vec![2, 1]),
            (vec![base(), other("usr/bin"), package("a")], vec![1, 2]),
            (vec![base(), other("lib/x"), package("a")], vec![1, 2]),
            // What is removed may be added again above.
            (
                vec![base(), other("etc/.wh.os-release"), package("a")],
                vec![1, 1, 1],
            ),
            (vec![], vec![]),
        ] {
            let runs = mergeable(&layers);
            let (start, end) = (
                runs.iter().map(|run| run.start),
                runs.iter().map(|run| run.end),
            );
            assert!(
                start.eq([0].into_iter().chain(end).take(runs.len())),
                "{runs:?}"
            );
            let sizes: Vec<usize> = runs.iter().map(Range::len).collect();
            assert_eq!(sizes, expected, "{layers:?}");
        }
    }
}

//! Byte-code of Python files, compiled by a base image's own interpreter on the platform that is native to the engine:
//! it is the same on every platform.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufReader, BufWriter, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{docker::Engine, process, work::joined};
use crate::model::{image::ImageRef, platform::Platform, problem::Problem, target::PythonVersion};

const SCRIPT: &str = include_str!("compile_bytecode.py");
/// For all that one assembly has compiled, what it does in between included.
const LIMIT: Duration = Duration::from_secs(3600);

/// Files by their path in the image, without a leading slash.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The interpreter that compiles.
#[derive(Debug, Clone, Copy)]
pub struct Interpreter<'a> {
    pub engine: &'a Engine,
    pub image: &'a ImageRef,
    /// Platform that the engine's containers run on natively.
    pub native: Platform,
    pub python: PythonVersion,
}

/// A container that compiles as long as this lives; several threads may ask it.
pub struct Compiler {
    python: PythonVersion,
    jobs: Sender<Job>,
    waiting: Arc<Waiting>,
    count: AtomicU32,
}

/// What is compiled together, apart from all else: byte-code depends on its group alone.
enum Group {
    /// Used without a look at its source, for nothing exchanges one without the other.
    Files(Files),
    /// The image's standard library, where it comes without byte-code. Used only where it fits its source: another
    /// platform's image may have another one.
    StandardLibrary,
}

struct Job {
    number: u32,
    group: Group,
}

/// Who waits for which answer; None when there will be none any more.
#[derive(Default)]
struct Waiting(Mutex<Option<HashMap<u32, Sender<Files>>>>);

impl Interpreter<'_> {
    /// Calls `work` with a compiler. Its container is started by the first question.
    pub fn serve<T>(&self, work: impl FnOnce(&Compiler) -> Result<T>) -> Result<T> {
        let (jobs, queue) = mpsc::channel();
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let compiler = Compiler {
            python: self.python,
            jobs,
            waiting: Arc::clone(&waiting),
            count: AtomicU32::new(0),
        };
        thread::scope(|scope| {
            let container = scope.spawn(|| {
                let ended = self.run(queue, &waiting);
                waiting.close();
                ended
            });
            let worked = work(&compiler);
            // Ends the queue, and so the container.
            drop(compiler);
            joined(container)?;
            worked
        })
    }

    fn run(&self, queue: Receiver<Job>, waiting: &Arc<Waiting>) -> Result<()> {
        let Ok(first) = queue.recv() else {
            return Ok(());
        };
        let command = [
            "env",
            "PYTHONHASHSEED=0",
            "PYTHONDONTWRITEBYTECODE=1",
            "/usr/local/bin/python",
            "-S",
            "-c",
            SCRIPT,
        ];
        let waiting = Arc::clone(waiting);
        let (image, native) = (self.image, self.native);
        let run = self
            .engine
            .run_untrusted(image, native, &command, LIMIT, |program| {
                let write = |pipe: &mut dyn Write| {
                    let mut pipe = BufWriter::new(pipe);
                    let mut jobs = std::iter::once(first).chain(queue);
                    jobs.try_for_each(|job| job.write(&mut pipe).and_then(|()| pipe.flush()))
                };
                program.input_from(write).output_to(move |pipe| {
                    // A cut answer is the end of the container, whose status tells more.
                    let _ = waiting.answer(&mut BufReader::new(pipe));
                    waiting.close();
                })
            });
        let finished = run.with_context(|| format!("compile byte-code in {image}"))?;
        if finished.status.success() && finished.timed_out.is_none() {
            return Ok(());
        }
        let tail = process::indent(&finished.tail());
        let ending = finished.ending();
        Err(Problem::failure(format!(
            "compile byte-code in {image}: python {ending}\n{tail}"
        ))
        .into())
    }
}

impl Compiler {
    /// The byte-code of every `.py` file, under the path where the interpreter looks for it. Files that are no Python
    /// of this version have none.
    pub fn compile(&self, files: Files) -> Result<Files> {
        self.ask(Group::Files(files))
    }

    /// The byte-code of the image's standard library, as far as the image has none.
    pub fn standard_library(&self) -> Result<Files> {
        self.ask(Group::StandardLibrary)
    }

    fn ask(&self, group: Group) -> Result<Files> {
        if matches!(&group, Group::Files(files) if files.is_empty()) {
            return Ok(Files::new());
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.wait_for(number);
        let sent = self.jobs.send(Job { number, group });
        let answer = sent.ok().and(answer).and_then(|answer| answer.recv().ok());
        let compiled = answer.context("the container that compiles byte-code has ended")?;
        let cached = |(path, bytes): (String, _)| (cached(&path, self.python), bytes);
        Ok(compiled.into_iter().map(cached).collect())
    }
}

impl Job {
    /// As compile_bytecode.py reads it.
    fn write(self, pipe: &mut impl Write) -> io::Result<()> {
        let (what, files) = match self.group {
            Group::Files(files) => (0, files),
            Group::StandardLibrary => (1, Files::new()),
        };
        for number in [self.number, what, length(files.len())?] {
            pipe.write_all(&number.to_le_bytes())?;
        }
        for (path, bytes) in files {
            for chunk in [path.as_bytes(), &bytes] {
                pipe.write_all(&length(chunk.len())?.to_le_bytes())?;
                pipe.write_all(chunk)?;
            }
        }
        Ok(())
    }
}

impl Waiting {
    /// Who asked group `number` hears of it; None when nobody will.
    fn wait_for(&self, number: u32) -> Option<Receiver<Files>> {
        let (answer, answered) = mpsc::channel();
        self.lock().as_mut()?.insert(number, answer);
        Some(answered)
    }

    /// Hands out answers up to the end of `pipe`.
    fn answer(&self, pipe: &mut impl Read) -> io::Result<()> {
        loop {
            let number = read_number(pipe)?;
            let mut files = Files::new();
            for _ in 0..read_number(pipe)? {
                let path = String::from_utf8(read_chunk(pipe)?).map_err(io::Error::other)?;
                files.insert(path, read_chunk(pipe)?);
            }
            let waiting = self.lock().as_mut().and_then(|all| all.remove(&number));
            let waiting = waiting.ok_or_else(|| io::Error::other("nobody asked for this"))?;
            // Whoever asked may have given up since.
            let _ = waiting.send(files);
        }
    }

    fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u32, Sender<Files>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(io::Error::other)
}

fn read_number(pipe: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    pipe.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_chunk(pipe: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = read_number(pipe)?;
    // A length that was made up reserves no more than this.
    let mut bytes = Vec::with_capacity(length.min(1 << 20) as usize);
    pipe.take(length.into()).read_to_end(&mut bytes)?;
    (bytes.len() as u64 == u64::from(length))
        .then_some(bytes)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Where the interpreter looks for the byte-code of a file (PEP 3147).
fn cached(path: &str, python: PythonVersion) -> String {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".py");
    format!(
        "{directory}/__pycache__/{stem}.cpython-{}{}.pyc",
        python.major, python.minor
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_lies_where_the_interpreter_looks() {
        let python = "3.11.2".parse().unwrap();
        assert_eq!(
            cached("usr/lib/a/b.py", python),
            "usr/lib/a/__pycache__/b.cpython-311.pyc"
        );
    }

    /// An answer is laid out as a job is, without the second number.
    fn answer(number: u32, files: &[(&str, &str)]) -> Vec<u8> {
        let files: Files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect();
        let mut bytes = Vec::new();
        let job = Job {
            number,
            group: Group::Files(files),
        };
        job.write(&mut bytes).unwrap();
        bytes.drain(4..8);
        bytes
    }

    #[test]
    fn answers_reach_who_asked_and_a_cut_one_nobody() {
        let waiting = Waiting(Mutex::new(Some(HashMap::new())));
        let (first, second) = (waiting.wait_for(1).unwrap(), waiting.wait_for(2).unwrap());
        let mut bytes = answer(2, &[("a.py", "A"), ("b/c.py", "")]);
        let cut = answer(1, &[("x.py", "X")]);
        bytes.extend(&cut[..cut.len() - 1]);
        assert!(waiting.answer(&mut bytes.as_slice()).is_err());
        let files = second.recv().unwrap();
        assert_eq!(files["a.py"], b"A");
        assert_eq!(files["b/c.py"], b"");
        waiting.close();
        assert!(first.recv().is_err(), "no answer is an end, not a wait");
        assert!(waiting.wait_for(3).is_none());
    }
}

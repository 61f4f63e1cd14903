//! Byte-code of Python files, compiled by a base image's own interpreter on the platform that is native to the engine:
//! it is the same on every platform.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufReader, BufWriter, Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use camino::Utf8Path;

use super::{
    docker::Engine,
    process,
    spool::{Spool, Spooled},
    work::{joined, lock},
};
use crate::model::{image::ImageRef, platform::Platform, problem::Problem, target::PythonVersion};

const SCRIPT: &str = include_str!("compile_bytecode.py");
/// For all that one assembly has compiled, what it does in between included.
const LIMIT: Duration = Duration::from_secs(3600);

/// Files that wait on the way to the container.
const AHEAD: usize = 16;

/// Byte-code on disk, by its path in the image without a leading slash.
pub type ByteCode = BTreeMap<String, Spooled>;

/// The interpreter that compiles.
#[derive(Debug, Clone, Copy)]
pub struct Interpreter<'a> {
    pub engine: &'a Engine,
    pub image: &'a ImageRef,
    /// Platform that the engine's containers run on natively.
    pub native: Platform,
    pub python: PythonVersion,
    /// In whose file system byte-code waits until it is packed.
    pub scratch: &'a Utf8Path,
}

/// A container that compiles as long as this lives; several threads may ask it.
pub struct Compiler {
    python: PythonVersion,
    /// What the container is to read, one file of one group after the other; why not, when a group was cut short.
    questions: Mutex<Result<SyncSender<Vec<u8>>, String>>,
    waiting: Arc<Waiting>,
    count: AtomicU32,
}

/// What is compiled together, apart from all else: byte-code depends on its group alone.
#[derive(Debug, Clone, Copy)]
enum Group {
    /// Used without a look at its source, for nothing exchanges one without the other.
    Files = 0,
    /// The image's standard library, where it comes without byte-code. Used only where it fits its source: another
    /// platform's image may have another one.
    StandardLibrary = 1,
}

/// Who waits for which answer; None when there will be none any more.
#[derive(Default)]
struct Waiting(Mutex<Option<HashMap<u32, Sender<ByteCode>>>>);

impl Interpreter<'_> {
    /// Calls `work` with a compiler. Its container is started by the first question.
    pub fn serve<T>(&self, work: impl FnOnce(&Compiler) -> Result<T>) -> Result<T> {
        let (questions, queue) = mpsc::sync_channel(AHEAD);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let compiler = Compiler {
            python: self.python,
            questions: Mutex::new(Ok(questions)),
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

    fn run(&self, queue: Receiver<Vec<u8>>, waiting: &Arc<Waiting>) -> Result<()> {
        let Ok(first) = queue.recv() else {
            return Ok(());
        };
        let spool = Spool::new(self.scratch);
        let mut spool = spool.with_context(|| format!("write to {}", self.scratch))?;
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
        let (tell, told) = mpsc::channel();
        let (image, native) = (self.image, self.native);
        let run = self
            .engine
            .run_untrusted(image, native, &command, LIMIT, |program| {
                let write = move |pipe: &mut dyn Write| write_all(pipe, first, &queue);
                program.input_from(write).output_to(move |pipe| {
                    let heard = waiting.answer(&mut BufReader::new(pipe), &mut spool);
                    let _ = tell.send(heard);
                    waiting.close();
                })
            });
        let finished = run.with_context(|| format!("compile byte-code in {image}"))?;
        // A cut answer is the end of the container, whose status tells more.
        if let Ok(Err(error)) = told.try_recv()
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            return Err(error).with_context(|| format!("keep byte-code of {image}"));
        }
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

/// What is to be read, as it comes.
fn write_all(pipe: &mut dyn Write, first: Vec<u8>, queue: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut pipe = BufWriter::new(pipe);
    let mut next = Some(first);
    while let Some(bytes) = next {
        pipe.write_all(&bytes)?;
        next = match queue.try_recv() {
            Ok(bytes) => Some(bytes),
            Err(_) => {
                pipe.flush()?;
                queue.recv().ok()
            }
        };
    }
    Ok(())
}

impl Compiler {
    /// The byte-code of Python files, under the path where the interpreter looks for it. Those that are no Python
    /// of this version have none. Each is asked for when the one before it is on its way.
    pub fn compile(
        &self,
        files: impl ExactSizeIterator<Item = Result<(String, Vec<u8>)>>,
    ) -> Result<ByteCode> {
        if files.len() == 0 {
            return Ok(ByteCode::new());
        }
        self.ask(Group::Files, files)
    }

    /// The byte-code of the image's standard library, as far as the image has none.
    pub fn standard_library(&self) -> Result<ByteCode> {
        self.ask(Group::StandardLibrary, std::iter::empty())
    }

    fn ask(
        &self,
        group: Group,
        files: impl ExactSizeIterator<Item = Result<(String, Vec<u8>)>>,
    ) -> Result<ByteCode> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.wait_for(number);
        {
            let mut questions = lock(&self.questions);
            let open = questions.as_ref().map_err(|cause| anyhow!("{cause}"))?;
            if let Err(error) = send(open, number, group, files) {
                // The container can't tell any more where the next group begins, so this ends it.
                *questions = Err(format!("{error:#}"));
                return Err(error);
            }
        }
        let compiled = answer.and_then(|answer| answer.recv().ok());
        let compiled = compiled.ok_or_else(ended)?;
        let cached = |(path, part): (String, _)| (cached(&path, self.python), part);
        Ok(compiled.into_iter().map(cached).collect())
    }
}

fn ended() -> anyhow::Error {
    anyhow!("the container that compiles byte-code has ended")
}

/// A group as compile_bytecode.py reads it.
fn send(
    to: &SyncSender<Vec<u8>>,
    number: u32,
    group: Group,
    files: impl ExactSizeIterator<Item = Result<(String, Vec<u8>)>>,
) -> Result<()> {
    let send = |bytes: Vec<u8>| to.send(bytes).map_err(|_| ended());
    let numbers = [number, group as u32, length(files.len())?];
    send(numbers.map(u32::to_le_bytes).concat())?;
    for file in files {
        let (path, bytes) = file?;
        let mut head = length(path.len())?.to_le_bytes().to_vec();
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(&length(bytes.len())?.to_le_bytes());
        send(head)?;
        send(bytes)?;
    }
    Ok(())
}

impl Waiting {
    /// Who asked group `number` hears of it; None when nobody will.
    fn wait_for(&self, number: u32) -> Option<Receiver<ByteCode>> {
        let (answer, answered) = mpsc::channel();
        lock(&self.0).as_mut()?.insert(number, answer);
        Some(answered)
    }

    /// Hands out answers up to the end of `pipe`.
    fn answer(&self, pipe: &mut impl Read, spool: &mut Spool) -> io::Result<()> {
        loop {
            let number = read_number(pipe)?;
            let mut files = ByteCode::new();
            for _ in 0..read_number(pipe)? {
                let path = String::from_utf8(read_chunk(pipe)?).map_err(io::Error::other)?;
                let size = read_number(pipe)?.into();
                files.insert(path, spool.keep(&mut *pipe, size)?);
            }
            let waiting = lock(&self.0).as_mut().and_then(|all| all.remove(&number));
            let waiting = waiting.ok_or_else(|| io::Error::other("nobody asked for this"))?;
            // Whoever asked may have given up since.
            let _ = waiting.send(files);
        }
    }

    fn close(&self) {
        *lock(&self.0) = None;
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

    fn files(texts: &[(&str, &str)]) -> Vec<Result<(String, Vec<u8>)>> {
        let file = |(path, text): &(&str, &str)| Ok(((*path).to_owned(), text.as_bytes().to_vec()));
        texts.iter().map(file).collect()
    }

    /// An answer is laid out as a question is, without the second number.
    fn answer(number: u32, texts: &[(&str, &str)]) -> Vec<u8> {
        let (questions, queue) = mpsc::sync_channel(100);
        send(&questions, number, Group::Files, files(texts).into_iter()).unwrap();
        drop(questions);
        let mut bytes = queue.iter().flatten().collect::<Vec<u8>>();
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
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path().try_into().unwrap()).unwrap();
        assert!(waiting.answer(&mut bytes.as_slice(), &mut spool).is_err());
        let files = second.recv().unwrap();
        let text = |path: &str| io::read_to_string(files[path].reader()).unwrap();
        assert_eq!((text("a.py").as_str(), text("b/c.py").as_str()), ("A", ""));
        waiting.close();
        assert!(first.recv().is_err(), "no answer is an end, not a wait");
        assert!(waiting.wait_for(3).is_none());
    }

    #[test]
    fn after_a_group_that_was_cut_short_nobody_waits() {
        let (questions, queue) = mpsc::sync_channel(AHEAD);
        let compiler = Compiler {
            python: "3.11.2".parse().unwrap(),
            questions: Mutex::new(Ok(questions)),
            waiting: Arc::new(Waiting(Mutex::new(Some(HashMap::new())))),
            count: AtomicU32::new(0),
        };
        let broken = [
            Ok(("a.py".to_owned(), Vec::new())),
            Err(anyhow!("the wheel is broken")),
        ];
        let error = compiler.compile(broken.into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "the wheel is broken");
        // The container hears the end, and who asks next hears why and does not wait for it.
        assert_eq!(queue.iter().count(), 3);
        let error = compiler.compile(files(&[("b.py", "B")]).into_iter());
        assert_eq!(error.unwrap_err().to_string(), "the wheel is broken");
    }
}

# Compiles Python files to byte-code with the standard library alone, group by group as they come.
# Standard input: for each group its number, what it is (0: files follow; 1: this interpreter's own standard library) and
# the count of its files, then path and content of each. Standard output: for each group, in any order, its number and
# the count, then path and byte-code. Numbers and lengths are 4 bytes, little-endian.
# What marshal writes depends on which strings a process knows, so every group is compiled in a fork of its own, from
# the same start: the same files make the same bytes. Nothing that is compiled is run.
import fcntl, importlib.util, io, marshal, os, signal, sys, warnings

FILES, LIBRARY = 0, 1
# PEP 552: byte-code that is never checked against its source, and byte-code that is used as long as it fits.
UNCHECKED, CHECKED = 1, 3
# Nobody starts a connector with these, and some are large.
NOT_WANTED = {"__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests", "tkinter", "turtledemo"}
warnings.simplefilter("ignore")
sys.setrecursionlimit(4000)
stdin = sys.stdin.buffer


def number():
    return int.from_bytes(stdin.read(4), "little")


def chunk():
    return stdin.read(number())


def packed(data):
    return len(data).to_bytes(4, "little") + data


def byte_code(path, source, kind):
    try:
        code = compile(source, "/" + path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # as installers do: test data and code for other Pythons
    header = importlib.util.MAGIC_NUMBER + kind.to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(code)


def library():
    import sysconfig

    top = os.path.realpath(sysconfig.get_path("stdlib"))
    for directory, below, files in os.walk(top):
        below[:] = sorted(set(below) - NOT_WANTED)
        for path in sorted(os.path.join(directory, name) for name in files if name.endswith(".py")):
            if not os.path.exists(importlib.util.cache_from_source(path)):
                with open(path, "rb") as file:
                    yield os.fsencode(path[1:]), file.read()


def compile_group(group, what, files):
    kind = UNCHECKED if what == FILES else CHECKED
    count, answer = 0, io.BytesIO()
    for path, source in library() if what == LIBRARY else files:
        code = byte_code(os.fsdecode(path), source, kind)
        if code is not None:
            count += 1
            answer.write(packed(path) + packed(code))
    with open("/tmp/answers", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(1, "wb", closefd=False) as stdout:
            stdout.write(group + count.to_bytes(4, "little"))
            stdout.write(answer.getbuffer())


def reap(flags):
    try:
        while (child := os.waitpid(-1, flags))[0] != 0:
            if child[1] != 0:
                sys.exit("the compiler ended with status %d" % child[1])
    except ChildProcessError:
        pass


# A group that is lost is the end of all: who waits for its answer would wait for ever.
signal.signal(signal.SIGCHLD, lambda *_: reap(os.WNOHANG))
while group := stdin.read(4):
    what, count = number(), number()
    files = [(chunk(), chunk()) for _ in range(count)]
    if os.fork() == 0:
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            compile_group(group, what, files)
            status = 0
        finally:
            os._exit(status)
    del files
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
reap(0)

# Compiles Python files to byte-code that is never checked against its source (PEP 552), with the standard library alone.
# Standard input: a zip whose entries are GROUP/PATH. Standard output: a zip with the byte-code of each, same names.
# What marshal writes depends on which strings a process knows, so every group is compiled in a fork of its own, from
# the same start: the same files make the same bytes. Nothing that is compiled is run.
import importlib.util, io, os, sys, zipfile

sys.setrecursionlimit(4000)
job = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
groups = {}
for name in job.namelist():
    groups.setdefault(name.split("/", 1)[0], []).append(name)


def compile_group(group):
    with zipfile.ZipFile("/tmp/" + group, "w") as result:
        for name in groups[group]:
            source = job.read(name)
            try:
                code = compile(source, name[len(group):], "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # as installers do: test data and code for other Pythons
            import marshal
            header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
            result.writestr(name, header + marshal.dumps(code))


def finish():
    _, status = os.wait()
    if status != 0:
        sys.exit("the compiler ended with status %d" % status)


import warnings

warnings.simplefilter("ignore")
running, limit = 0, len(os.sched_getaffinity(0))
for group in groups:
    if running == limit:
        finish()
        running -= 1
    if os.fork() == 0:
        code = 1
        try:
            compile_group(group)
            code = 0
        finally:
            os._exit(code)
    running += 1
for _ in range(running):
    finish()
with zipfile.ZipFile(sys.stdout.buffer, "w") as answer:
    for group in groups:
        with zipfile.ZipFile("/tmp/" + group) as result:
            for name in result.namelist():
                answer.writestr(zipfile.ZipInfo(name), result.read(name))

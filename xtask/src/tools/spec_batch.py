"""Runs `spec` of one connector after another on the base image that they share, its CDK imported once.

Started as `python -c THIS PROGRAM`, PROGRAM being what an image of that base starts. Standard input carries requests: a
line of JSON {"limit": seconds, "size": bytes} and that many bytes, the connector's own layer. Each is answered by a line
{"status", "timed_out", "stdout", "stderr"}, or {"error"} for what could not be tried here. A connector runs in a process
forked off after the imports; processes that it leaves behind, and files where connectors write (the code's directory and
/tmp), are gone before the next one.
"""

import atexit
import base64
import copy
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import shutil
import signal
import sys
import tarfile
import threading

PROGRAM = sys.argv[1]
CODE = os.path.dirname(PROGRAM)
TEMPORARY = "/tmp"
MODULES = (
    "airbyte_cdk.entrypoint",
    "airbyte_cdk.exception_handler",
    "airbyte_cdk.cli.source_declarative_manifest",
    "airbyte_cdk.sources.declarative.yaml_declarative_source",
    "airbyte_cdk.sources.declarative.concurrent_declarative_source",
)


def read(directory):
    """Every file below a directory: path, mode, bytes."""
    found = []
    for parent, _, names in os.walk(directory):
        for path in (os.path.join(parent, name) for name in names):
            with open(path, "rb") as file:
                found.append((path, os.stat(path).st_mode & 0o777, file.read()))
    return found


def write(path, mode, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def clear(directory):
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def unpack(layer):
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
        for member in archive:
            path = os.path.normpath(os.path.join("/", member.name))
            if member.isdir():
                os.makedirs(path, exist_ok=True)
            elif not path.startswith(CODE + "/"):
                raise ValueError(f"{path} is not below {CODE}")
            elif member.issym():
                os.symlink(member.linkname, path)
            else:
                write(path, member.mode, archive.extractfile(member).read())


def redirect(output, errors):
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)


def shadows():
    """Whether something in the code's directory would be imported in place of what is imported already."""
    names = {entry.name.partition(".")[0] for entry in os.scandir(CODE) if entry.is_dir() or ".py" in entry.name or ".so" in entry.name}
    return not names.isdisjoint(name.partition(".")[0] for name in sys.modules)


def prepare_schema():
    """Parses and checks the schema that the CDK holds manifests against, which takes it longer than all else, for every
    child. Its first use gets an object of the child's own; one that equals what was checked is not checked again."""
    import jsonschema
    import yaml

    text = pkgutil.get_data("airbyte_cdk", "sources/declarative/declarative_component_schema.yaml")
    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema = yaml.load(text, fast)
    parsed = {text: copy.deepcopy(schema)}
    parse = yaml.load

    def load(stream, Loader):
        known = parsed.pop(stream, None) if stream == text and Loader in (yaml.SafeLoader, fast) else None
        return parse(stream, Loader) if known is None else known

    validator = jsonschema.validators.validator_for(schema)
    check = validator.check_schema
    check(schema)

    def check_schema(other, *rest, **named):
        if other != schema:
            check(other, *rest, **named)

    yaml.load = load
    validator.check_schema = staticmethod(check_schema)


def content(descriptor):
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return file.read()


def too_long(*_):
    raise TimeoutError


def wait(child, limit):
    """How the child ended, and whether that was for the time limit; nothing that it started is left."""
    timed_out = False
    try:
        signal.setitimer(signal.ITIMER_REAL, limit)
        _, status = os.waitpid(child, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        timed_out = True
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    try:
        # All others of this container.
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    return os.waitstatus_to_exitcode(status), timed_out


requests = os.fdopen(os.dup(0), "rb")
answers = os.fdopen(os.dup(1), "w")
errors = os.dup(2)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

# What an import prints, each connector's own run would have printed.
printed = os.memfd_create("stdout"), os.memfd_create("stderr")
redirect(*printed)
sys.path.pop(0)
for module in MODULES:
    try:
        importlib.import_module(module)
    except ImportError:
        # Another CDK: what its program imports is imported with every connector.
        pass
try:
    prepare_schema()
except Exception:
    # Nor is this part of every CDK; whoever needs it hears what is wrong with it.
    pass
redirect(errors, errors)
printed = [content(descriptor) for descriptor in printed]
base = read(CODE)
signal.signal(signal.SIGALRM, too_long)
gc.freeze()

for line in requests:
    request = json.loads(line)
    layer = requests.read(request["size"])
    outputs = os.memfd_create("stdout"), os.memfd_create("stderr")
    for output, text in zip(outputs, printed):
        os.write(output, text)
    try:
        clear(TEMPORARY)
        clear(CODE)
        for file in base:
            write(*file)
        unpack(layer)
        child = os.fork()
        if child == 0:
            break
        status, timed_out = wait(child, request["limit"])
        stdout, stderr = (base64.b64encode(content(output)).decode() for output in outputs)
        answer = {"status": status, "timed_out": timed_out, "stdout": stdout, "stderr": stderr}
    except (OSError, ValueError, tarfile.TarError) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    for output in outputs:
        os.close(output)
    print(json.dumps(answer), file=answers, flush=True)
else:
    sys.exit()

# Only a child comes here: from now on it is what `python PROGRAM spec` is.
redirect(*outputs)
os.closerange(3, 256)
for number in (signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_DFL)
if shadows():
    os.execv(sys.executable, [sys.executable, PROGRAM, "spec"])
sys.argv = [PROGRAM, "spec"]
sys.path.insert(0, CODE)
sys.path_importer_cache.clear()
try:
    runpy.run_path(PROGRAM, run_name="__main__")
    status = 0
except SystemExit as end:
    if end.code is not None and not isinstance(end.code, int):
        print(end.code, file=sys.stderr)
    status = end.code if isinstance(end.code, int) else int(end.code is not None)
except BaseException:
    sys.excepthook(*sys.exc_info())
    status = 1
# As the interpreter ends, without taking the whole CDK apart object by object.
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status & 0xFF)

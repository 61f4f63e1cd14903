# Builds one sdist into a wheel (PEP 517), with the standard library alone: runs inside a container without a network.
# Standard input: a zip with job.json, the sdist and wheels of build backends. Standard output: a zip with the wheel.
import importlib, io, json, os, re, sys, tarfile, zipfile

answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what a backend prints goes to standard error
job = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
task = json.loads(job.read("job.json"))
top = task["directory"]
tools, source, out = (os.path.join(top, name) for name in ("tools", "source", "out"))
for directory in (tools, source, out):
    os.makedirs(directory)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement):
    return normal(re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement).group(1))


installed = set()


def install(requirements):
    for name in map(name_of, requirements):
        if name in installed or name not in task["backends"]:
            if name not in installed:
                print(f"no pinned build backend is called {name}", file=sys.stderr)
            continue
        installed.add(name)
        wheel = zipfile.ZipFile(io.BytesIO(job.read(task["backends"][name])))
        wheel.extractall(tools)
        metadata = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        lines = wheel.read(metadata).decode().split("\n\n")[0].splitlines()
        needs = [line[14:] for line in lines if line.startswith("Requires-Dist:")]
        install(need for need in needs if "extra ==" not in need and "python_version <" not in need)


install(task["requires"])
archive = io.BytesIO(job.read(task["sdist"]))
if task["sdist"].endswith(".zip"):
    zipfile.ZipFile(archive).extractall(source)
else:
    with tarfile.open(fileobj=archive) as sdist:
        if hasattr(tarfile, "data_filter"):
            sdist.extractall(source, filter="data")
        else:
            sdist.extractall(source)
(root,) = os.listdir(source)
os.chdir(os.path.join(source, root))

os.environ.update(task["environment"], PYTHONPATH=tools, HOME=top, TMPDIR=top)
sys.path[:] = [os.path.abspath(path) for path in task["backend_path"]] + [tools] + [p for p in sys.path if p]
sys.argv = ["setup.py"]
module, _, names = task["backend"].partition(":")
backend = importlib.import_module(module)
for name in filter(None, names.split(".")):
    backend = getattr(backend, name)
if hasattr(backend, "get_requires_for_build_wheel"):
    install(backend.get_requires_for_build_wheel({}))
wheel = backend.build_wheel(out, {}, None)
with zipfile.ZipFile(answer, "w") as result:
    result.write(os.path.join(out, wheel), wheel)
answer.flush()
